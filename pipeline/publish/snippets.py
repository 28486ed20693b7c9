"""The code snippets of a card that load the model, with transformers and with this package."""

from __future__ import annotations

from typing import Any, NamedTuple

from pipeline.config.models import Pretrained
from pipeline.config.recipe import Recipe

# The place of a model that has not been pushed.
LOCAL = "path/to/this/folder"

TRANSFORMERS = """With transformers:

```python
from transformers import pipeline

{name} = pipeline("{tag}", model="{place}"{options})
print({name}("{text}"))
```"""

# An adapter has no config.json, and that of its base does not name the classes: they are in labels.json.
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
LABEL_NAMES = 'names = {int(index): name for index, name in json.load(open(f"{folder}/labels.json")).items()}\n'

PIPELINE = """With finetune-pipeline:

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
    """Whether the run saves an adapter rather than a whole model."""
    return isinstance(recipe.model, Pretrained) and recipe.model.lora is not None and not recipe.model.lora.merge


def transformers_snippet(recipe: Recipe, place: str, has_code: bool) -> str:
    """Load the model from `place`, a folder or Hub id, with transformers alone; empty for a third party's task.

    Args:
        has_code: whether modeling files come with the weights.
    """
    pipeline = PIPELINES.get(recipe.task)
    if pipeline is None:
        return ""
    if is_adapter(recipe):
        return _adapter_snippet(recipe, pipeline, place)
    options = pipeline.options + (", trust_remote_code=True" if has_code else "")
    trust = "\nThe `.py` files in the repository are code of the model: read them before you trust them.\n" * has_code
    return TRANSFORMERS.format(place=place, **(pipeline._asdict() | {"options": options})) + "\n" + trust


def _adapter_snippet(recipe: Any, pipeline: Pipeline, place: str) -> str:
    has_labels = pipeline.head != "CausalLM"
    revision = f', revision="{recipe.model.revision}"' if recipe.model.revision else ""
    labels = ", id2label=names, label2id={name: index for index, name in names.items()}" if has_labels else ""
    return (
        ADAPTER.format(
            base=recipe.model.checkpoint,
            folder=f'"{LOCAL}"' if place == LOCAL else f'snapshot_download("{place}")',
            names=LABEL_NAMES if has_labels else "",
            base_options=revision + labels,
            **pipeline._asdict(),
        )
        + "\n"
    )


def pipeline_snippet(place: str) -> str:
    """Ask the model in `place`, a folder or Hub id, with this package."""
    return PIPELINE.format(place=place)
