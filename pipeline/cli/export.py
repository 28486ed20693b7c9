"""`finetune export`: a run's model as an ONNX graph, with a program that runs it without torch."""

from __future__ import annotations

from typing import Annotated

import tyro

from pipeline.cli import arguments, startup
from pipeline.cli.arguments import Arguments
from pipeline.config import export as settings
from pipeline.config.export import DEFAULT_OPSET, Quantization


def _export(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    to: str,
    quantize: Quantization | None = None,
    opset: int = DEFAULT_OPSET,
    allow_loss: bool = False,
) -> None:
    """Write the model of a finished run as an ONNX graph, with its tokenizer and a program that needs no torch.

    The export is tried before it is put in its place: it must answer as the model does, and score as well.

    Example: finetune export runs/sentiment-bilstm --to exported --quantize int8

    Example: python exported/runner.py < texts.txt

    Args:
        model: folder of a finished run.
        to: folder for the export; it must not exist.
        quantize: int8: a quarter of the size, and faster, but not quite the same answers.
        opset: version of the ONNX operators, from 18 to 23.
        allow_loss: write it even if its score is more than half a point lower.
    """
    folder = settings.check(to, opset)
    from pipeline.publish import staging

    staging.read_run(model, "export")
    with startup.importing():
        from pipeline.export import card
        from pipeline.export import folder as exporting

    made = exporting.export(model, folder, quantize, opset, allow_loss)
    rows = [("", "before", "after"), *card.comparison(made)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))
        print(f"{first:<{widths[0]}}  {'  '.join(cells)}".rstrip())
    if made.warning:
        print(f"warning: {made.warning}")
    print(f"exported to {to}; to use it: python {to}/runner.py < texts.txt")


def command(given: Arguments) -> None:
    arguments.call(_export, given, "finetune export")
