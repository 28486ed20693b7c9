"""The model card: what was trained on what, and what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import EvalResult, ModelCardData

from pipeline.recipe import Pretrained, Recipe
from pipeline.samples import PREFIX

HOW_TO_LOAD = """```python
from transformers import pipeline

{name} = pipeline("{tag}", model="path/to/this/folder"{options})
{name}("{text}")
```"""

# The folder of an adapter has no configuration of its own: peft finds that of its base, which names no classes.
HOW_TO_LOAD_ADAPTER = """This is a LoRA adapter of `{base}`; with transformers and peft:

```python
import json
from transformers import AutoModelFor{head}, AutoTokenizer, pipeline

{names}model = AutoModelFor{head}.from_pretrained("path/to/this/folder"{id2label})
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
{name} = pipeline("{tag}", model=model, tokenizer=tokenizer{options})
{name}("{text}")
```"""
NAMES = 'names = {int(index): name for index, name in json.load(open("path/to/this/folder/labels.json")).items()}\n'


class Pipeline(NamedTuple):
    """A task's pipeline in transformers: its tag, a name for what it makes, its options, an input, and its head."""

    tag: str
    name: str
    text: str
    head: str
    options: str = ""


PIPELINES = {
    "sentiment": Pipeline(
        "text-classification", "classify", "a gripping , funny and moving film", "SequenceClassification"
    ),
    "ner": Pipeline(
        "token-classification",
        "find_entities",
        "George Washington lived in Virginia .",
        "TokenClassification",
        ', aggregation_strategy="simple"',
    ),
    "next_word": Pipeline("text-generation", "write", "the film is", "CausalLM"),
}


def card(recipe: Recipe, metrics: dict[str, Any], custom_code: bool) -> str:
    """README.md of the saved model, from what was measured; `custom_code`: the modeling files lie beside it."""
    pipeline = PIPELINES.get(recipe.task)
    tag = pipeline.tag if pipeline else None
    checkpoint = recipe.model.checkpoint if isinstance(recipe.model, Pretrained) else None
    data = ModelCardData(
        library_name="peft" if _is_adapter(recipe) else "transformers",
        pipeline_tag=tag,
        base_model=checkpoint if checkpoint and _is_hub_id(checkpoint) else None,
        model_name=recipe.name,
        eval_results=_results(recipe, tag, metrics) if tag else None,
    )
    how_to_load = _how_to_load_adapter(recipe, pipeline) if _is_adapter(recipe) else _how_to_load(pipeline, custom_code)
    return f"---\n{data.to_yaml()}\n---\n\n{_body(recipe, metrics)}\n{how_to_load}"


def _is_adapter(recipe: Recipe) -> bool:
    return isinstance(recipe.model, Pretrained) and recipe.model.lora is not None and not recipe.model.lora.merge


def _how_to_load(pipeline: Pipeline | None, custom_code: bool) -> str:
    if pipeline is None:
        return ""
    options = pipeline.options + (", trust_remote_code=True" if custom_code else "")
    return HOW_TO_LOAD.format(tag=pipeline.tag, name=pipeline.name, text=pipeline.text, options=options) + "\n"


def _how_to_load_adapter(recipe: Any, pipeline: Pipeline | None) -> str:
    if pipeline is None:
        return ""
    has_names = pipeline.head != "CausalLM"
    told = {"names": NAMES, "id2label": ", id2label=names"} if has_names else {"names": "", "id2label": ""}
    return HOW_TO_LOAD_ADAPTER.format(base=recipe.model.checkpoint, **pipeline._asdict(), **told) + "\n"


def _is_hub_id(name: str) -> bool:
    return name.count("/") <= 1 and not name.startswith((".", "/", "~", PREFIX)) and not Path(name).exists()


def _scores(metrics: dict[str, Any]) -> list[tuple[str, str, float]]:
    """Split, name and value of every single figure."""
    return [
        (split, name, value)
        for split in ("validation", "test")
        for name, value in metrics.get(split, {}).items()
        if isinstance(value, float)
    ]


def _results(recipe: Recipe, tag: str, metrics: dict[str, Any]) -> list[EvalResult]:
    source = recipe.data.source
    kind = source if _is_hub_id(source) else "custom"
    name = source.removeprefix(PREFIX) if source.startswith(PREFIX) else Path(source).name
    return [
        EvalResult(tag, kind, name, metric, value, dataset_split=split) for split, metric, value in _scores(metrics)
    ]


def _body(recipe: Recipe, metrics: dict[str, Any]) -> str:
    train = metrics["train"]
    source = recipe.data.source if _is_hub_id(recipe.data.source) else Path(recipe.data.source).name
    return "\n".join(
        [
            f"# {recipe.name}",
            "",
            f"A {type(recipe.model).__name__.lower()} model for {recipe.task}, trained on `{source}`.",
            "",
            "| split | metric | value |",
            "|---|---|---|",
            *(f"| {split} | {metric} | {value:.4f} |" for split, metric, value in _scores(metrics)),
            "",
            f"{train['parameters']:,} parameters; {train['updates']} updates in {train['seconds']:.0f} seconds on"
            f" {train['device']} in {train['precision']}. The recipe is in `recipe.json`; `finetune run recipe.json`"
            " repeats the run.",
            "",
        ]
    )
