"""The code snippets of a card that load the model, with transformers and with this package."""

from __future__ import annotations

import json
from typing import Any

from pipeline.config.models import Pretrained, Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.task_specs import Snippet, TaskSpec, head_called
from pipeline.data.tokenization.word_alignment import OVERLAP

# Where a model is that has not been pushed.
LOCAL = "path/to/this/folder"

TRANSFORMERS = """With transformers:

```python
from transformers import pipeline

{name} = pipeline("{tag}", model="{place}"{options})
print({name}({input}{call}))
```"""

# For a task that transformers has no pipeline for.
GENERATE = """With transformers:

```python
{imports}

tokenizer = AutoTokenizer.from_pretrained("{place}"{options})
model = {auto_class}.from_pretrained("{place}"{options})
texts = tokenizer([{input}], return_tensors="pt", padding=True)
print(tokenizer.batch_decode(model.generate(**texts), skip_special_tokens=True))
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
{name} = pipeline("{tag}", model=model, tokenizer=AutoTokenizer.from_pretrained(folder{tokenizer_options}){options})
print({name}({input}{call}))
```"""
READ_CODE = "\nThe `.py` files in the repository are the model's code: read them before you trust them.\n"
TRUST = ", trust_remote_code=True"
NEW_TOKENS = 20
LABEL_NAMES = 'names = {int(index): name for index, name in json.load(open(f"{folder}/labels.json")).items()}\n'

PIPELINE = """With finetune-pipeline:

```python
from pipeline import predict

print(list(predict("{place}", {texts})))
```
"""

ONNX = """Without torch, with numpy, onnxruntime and tokenizers:

```sh
hf download {place} --include "onnx/*" --local-dir .
python onnx/runner.py < texts.txt
```
"""


def is_adapter(recipe: Recipe) -> bool:
    """Whether the run saves an adapter rather than a whole model."""
    return isinstance(recipe.model, Pretrained) and recipe.model.lora is not None and not recipe.model.lora.merge


def transformers_snippet(
    recipe: Recipe, spec: TaskSpec | None, place: str, has_code: bool, has_word_pieces: bool = False
) -> str:
    """Predict with the model at `place`, a folder or Hub id, and transformers alone; empty if transformers has no
    pipeline for the task.

    Args:
        spec: of the task, for answers of the model's type; None for a task of your own.
        has_code: whether modeling files come with the weights.
        has_word_pieces: whether the tokenizer marks the pieces of a word after its first; the tag of a word is then
            that of its first piece, as in training and in scores.
    """
    if spec is None or spec.snippet is None:
        return ""
    snippet = spec.snippet._replace(options=_options(recipe, spec.snippet.options, has_word_pieces))
    note = f"\n{snippet.note}\n" * bool(snippet.note)
    if snippet.generates:
        return _generating_snippet(recipe, snippet, place, has_code) + note
    if is_adapter(recipe):
        return _adapter_snippet(recipe, spec, snippet, place, has_code) + note
    options, trust = snippet.options + TRUST * has_code, READ_CODE * has_code
    fields = {**_fields(snippet), "tag": spec.tag, "options": options}
    return TRANSFORMERS.format(place=place, **fields) + "\n" + note + trust


def _generating_snippet(recipe: Recipe, snippet: Snippet, place: str, has_code: bool) -> str:
    auto_class, imports = "AutoModelForSeq2SeqLM", "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer"
    if is_adapter(recipe):
        auto_class = "AutoPeftModelForSeq2SeqLM"
        imports = f"from peft import {auto_class}\nfrom transformers import AutoTokenizer"
    fields = {"place": place, "imports": imports, "auto_class": auto_class, "options": TRUST * has_code}
    text = json.dumps((recipe.data.prefix or "") + snippet.text, ensure_ascii=False)
    return GENERATE.format(input=text, **fields) + "\n" + READ_CODE * has_code


def _options(recipe: Recipe, options: str, has_word_pieces: bool) -> str:
    """The options of a pipeline with the sizes of the recipe filled in, so that it answers texts of any length."""
    length = recipe.data.max_length
    new_tokens = min(NEW_TOKENS, length // 2)
    if isinstance(recipe.model, Recurrent):  # it has no positions that a text could exceed
        continuing = f"max_new_tokens={NEW_TOKENS}"
    else:  # a long text loses its beginning
        continuing = f'max_new_tokens={new_tokens}, handle_long_generation="hole"'
    strategy = "first" if has_word_pieces else "simple"
    return options.format(strategy=strategy, stride=length // OVERLAP, continuing=continuing)


def _fields(snippet: Snippet) -> dict[str, str]:
    """Of the templates: the names in a snippet, and its input as source code."""
    pair = f'{{"text": "{snippet.text}", "text_pair": "{snippet.text_pair}"}}'
    return {**snippet._asdict(), "input": pair if snippet.text_pair else f'"{snippet.text}"'}


def _adapter_snippet(recipe: Any, spec: TaskSpec, snippet: Snippet, place: str, has_code: bool) -> str:
    has_labels = head_called(spec.head).has_labels
    revision = f', revision="{recipe.model.revision}"' if recipe.model.revision else ""
    labels = ", id2label=names, label2id={name: index for index, name in names.items()}" if has_labels else ""
    trusted = recipe.model.trust_remote_code
    code = "\nThis runs the code of the base model: read it before you trust it.\n" * trusted
    problem = f', problem_type="{spec.problem_type}"' if spec.problem_type else ""
    return (
        ADAPTER.format(
            base=recipe.model.checkpoint,
            folder=f'"{LOCAL}"' if place == LOCAL else f'snapshot_download("{place}")',
            names=LABEL_NAMES if has_labels else "",
            base_options=revision + labels + problem + TRUST * trusted,
            tokenizer_options=TRUST * has_code,
            head=spec.head,
            tag=spec.tag,
            **_fields(snippet),
        )
        + "\n"
        + code
    )


def pipeline_snippet(place: str, pairs: bool = False) -> str:
    """Predict with the model at `place`, a folder or Hub id, and this package."""
    texts = '[("one text", "and the other")]' if pairs else '["one text", "and another"]'
    return PIPELINE.format(place=place, texts=texts)


def onnx_snippet(place: str) -> str:
    """Predict with the export in the repository `place`, and without this package, transformers and torch."""
    return ONNX.format(place=place)
