"""The card of an export: what it is, what it scores and how fast it answers, and how to use it."""

from __future__ import annotations

from decimal import ROUND_UP, Context

from huggingface_hub import ModelCardData

from pipeline.export.exported import Exported
from pipeline.export.validation_rows import SPLIT
from pipeline.publish.card import UNKNOWN_LICENSE, markdown_table, title
from pipeline.publish.staging import FinishedRun

USAGE = """## How to use

`runner.py` needs numpy, onnxruntime and tokenizers only. It prints what `finetune predict` prints:

```sh
pip install numpy onnxruntime tokenizers
python runner.py < texts.txt
```

In Python, in this folder:

```python
from runner import load

model = load()
print(model({texts}))
```

`finetune predict`, `finetune evaluate` and `finetune serve` take this folder like that of a model."""

SHARING = """To share it on the Hub, push the run with `finetune push --with-onnx`, which searches the files for secrets
and tries them in a clean process."""

HANDLER = """`handler.py` then answers requests to Inference Endpoints."""


def card(run: FinishedRun, exported: Exported, has_handler: bool) -> str:
    """README.md of an export: metadata for the Hub in YAML, then the sections."""
    card_data = run.card_data()
    spec = card_data.spec
    metadata = ModelCardData(
        language=card_data.all_languages or None,
        license=UNKNOWN_LICENSE,
        library_name="onnx",
        pipeline_tag=spec.tag if spec else None,
        tags=["finetune-pipeline", run.recipe.task, "onnx"],
        model_name=run.recipe.name,
    )
    weights = "weights in int8" if exported.quantization else "float32"
    texts = '[["one text", "and the other"]]' if card_data.reads_pairs else '["one text", "and another"]'
    sections = [
        title(card_data),
        f"It stands here as an ONNX graph (opset {exported.opset}, {weights}).",
        _comparison(exported),
        USAGE.format(texts=texts) + f"\n\n{SHARING}" + f" {HANDLER}" * has_handler,
    ]
    return f"---\n{metadata.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"


def _comparison(exported: Exported) -> str:
    checked = exported.checked
    rows = [[name, *values] for name, *values in comparison(exported)]
    notes = [f"The score is that of {checked.rows:,} rows of the {SPLIT} split."]
    if exported.quantization is None:
        labels = ", and no label does" * (checked.labels == 0) + ", and no translation does" * (checked.texts == 0)
        most = f"{_rounded_up(checked.difference)} (of the largest of a row, if that is beyond 1)"
        notes.append(f"Logits differ by at most {most}{labels}.")
    notes.append(f"Latency is that of one thread of {exported.processor}, with tokenization.")
    if exported.warning:
        notes.insert(0, f"This export was made although {exported.warning}.")
    return "\n\n".join(["## Before and after", markdown_table(["", "PyTorch", "this export"], rows), " ".join(notes)])


def comparison(exported: Exported) -> list[tuple[str, str, str]]:
    """Score, size and latency: what it is, before and after."""
    checked = exported.checked
    rows = [
        (checked.name, f"{checked.before:.4f}", f"{checked.after:.4f}"),
        *((name, f"{before:.4f}", f"{after:.4f}") for name, (before, after) in checked.others.items()),
        ("size", _megabytes(exported.bytes["before"]), _megabytes(exported.bytes["after"])),
    ]
    for size, texts in (("batch_1", "1 text"), ("batch_32", "32 texts")):
        before, after = (_milliseconds(exported.latency[side][size]) for side in ("before", "after"))
        rows.append((f"{texts}, p50 / p95", before, after))
    return rows


def _rounded_up(number: float) -> str:
    """With one digit, and not less than `number`."""
    return f"{float(Context(prec=1, rounding=ROUND_UP).create_decimal(repr(number))):.1g}"


def _milliseconds(times: dict[str, float]) -> str:
    return f"{times['p50']:.3g} / {times['p95']:.3g} ms"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.{1 if size >= 1e7 else 2}f} MB"
