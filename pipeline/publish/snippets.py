"""How a saved model is loaded: the snippets of its card, with this package and without."""

from __future__ import annotations

from typing import Any, NamedTuple

from pipeline.config.models import Pretrained
from pipeline.config.recipe import Recipe

# Stands for a model that has not been pushed.
LOCAL = "path/to/this/folder"

PLAIN = """With transformers alone:

```python
from transformers import pipeline

{name} = pipeline("{tag}", model="{place}"{options})
print({name}("{text}"))
```"""

# The folder of an adapter has no configuration of its own: peft finds that of its base, which names no classes.
ADAPTER = """This is a LoRA adapter of `{base}`; with transformers and peft:

```python
import json
from huggingface_hub import snapshot_download
from peft import PeftModel
from transformers import AutoModelFor{head}, AutoTokenizer, pipeline

folder = {folder}
{names}model = AutoModelFor{head}.from_pretrained("{base}"{base_options})
model = PeftModel.from_pretrained(model, folder)
{name} = pipeline("{tag}", model=model, tokenizer=AutoTokenizer.from_pretrained(folder){options})
print({name}("{text}"))
```"""
NAMES = 'names = {int(index): name for index, name in json.load(open(f"{folder}/labels.json")).items()}\n'

OURS = """With finetune-pipeline:

```python
from pipeline import predict

print(list(predict("{place}", ["one text", "and another"])))
```
"""


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


def is_adapter(recipe: Recipe) -> bool:
    """Whether the folder of the run holds an adapter rather than a model."""
    return isinstance(recipe.model, Pretrained) and recipe.model.lora is not None and not recipe.model.lora.merge


def plain(recipe: Recipe, place: str, has_code: bool) -> str:
    """The snippet for plain transformers; `place` is a folder or Hub id. Nothing for a task of one's own."""
    pipeline = PIPELINES.get(recipe.task)
    if pipeline is None:
        return ""
    if is_adapter(recipe):
        return _adapter(recipe, pipeline, place)
    options = pipeline.options + (", trust_remote_code=True" if has_code else "")
    told = pipeline._asdict() | {"options": options}
    code = "\nIts code comes with it, in the files that end in `.py`: read them before you trust them.\n" * has_code
    return PLAIN.format(place=place, **told) + "\n" + code


def _adapter(recipe: Any, pipeline: Pipeline, place: str) -> str:
    has_names = pipeline.head != "CausalLM"
    revision = f', revision="{recipe.model.revision}"' if recipe.model.revision else ""
    named = ", id2label=names, label2id={name: index for index, name in names.items()}" if has_names else ""
    return (
        ADAPTER.format(
            base=recipe.model.checkpoint,
            folder=f'"{LOCAL}"' if place == LOCAL else f'snapshot_download("{place}")',
            names=NAMES if has_names else "",
            base_options=revision + named,
            **pipeline._asdict(),
        )
        + "\n"
    )


def ours(place: str) -> str:
    """The snippet for this package."""
    return OURS.format(place=place)
