"""`finetune predict`: a saved model's prediction for each line of text."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro

from pipeline.cli import arguments, startup
from pipeline.cli.arguments import Arguments
from pipeline.config import paths
from pipeline.config.loading import nearby
from pipeline.errors import UserError


def _predict(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    input: str = "-",
    generate: int | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> None:
    """Predict from texts, one per line, and print one line of JSON for each.

    Example: echo "a warm and funny film" | finetune predict runs/sentiment-bilstm

    Args:
        model: folder of a run or of a model, or Hub id.
        input: file of texts, or - for standard input.
        generate: for next_word: continue each text by this many tokens.
        revision: commit, tag or branch of a Hub model.
        trust_remote_code: run the code that comes with the model.
        allow_pickle: read weights from pytorch_model.bin if there are no safetensors.
    """
    if generate is not None and generate < 1:
        raise UserError(f"generate: {generate} is out of range; it must be >= 1")
    options: dict[str, Any] = {} if generate is None else {"generate": generate}
    options |= {"revision": revision, "trust_remote_code": trust_remote_code, "allow_pickle": allow_pickle}
    _check_input(input)
    arguments.check_model(model, revision, trust_remote_code, "revision")
    with startup.importing():
        from pipeline import inference

    for prediction in inference.predict(model, _lines(input), **options):
        print(json.dumps(prediction, ensure_ascii=False), flush=input == "-")


def _check_input(name: str) -> None:
    if name == "-":
        if sys.stdin is None:
            raise UserError("input: standard input is closed; give --input FILE")
        return
    file = paths.local(name, "input")
    if file.is_dir():
        raise UserError(f"input: {name} is a folder; give a file with one text per line")
    if not file.exists():
        raise UserError(f"input: there is no file {name}{nearby(file)}")


def _lines(name: str) -> Iterator[str]:
    """Lines of a file or of standard input, without line ends; UTF-8 with or without a byte order mark."""
    with sys.stdin.buffer if name == "-" else Path(name).open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise UserError(f"{name}:{number}: not UTF-8 at byte {error.start} of the line") from error


def command(given: Arguments) -> None:
    tyro.cli(_predict, args=list(given), prog="finetune predict")
