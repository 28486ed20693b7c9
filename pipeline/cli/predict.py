"""`finetune predict`: a saved model's prediction for each line of text, or for each row of a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from pipeline.cli import answers, arguments, startup
from pipeline.cli.arguments import INFERRED, Arguments, Reading
from pipeline.config import paths, sources
from pipeline.config.data import Data, DataFormat
from pipeline.config.formats import DATA_SUFFIXES, REMEDIES, name_of, suffix_of
from pipeline.config.loading import nearby
from pipeline.config.schema import Count, LengthPenalty
from pipeline.errors import UserError

BYTES = 1 << 20  # of standard input that are read at once, if they are there


@dataclass(frozen=True)
class Search:
    """Flags for translation: how translations are searched for, and what is printed about them."""

    beams: Count | None = None
    """for translation: beams of the search; 1 is greedy. By default, as the model was saved."""
    length_penalty: LengthPenalty | None = None
    """for translation: exponent of the length by which scores are divided: above 1 prefers long translations; from -10
    to 10."""
    n_best: Count | None = None
    """for translation: also print this many translations with their scores, the best first."""
    attention: bool = False
    """for translation: also print how much each token of the translation attends to each of the text."""

    def options(self) -> dict[str, Any]:
        """Those that are given, as arguments of the task's `predict`."""
        # A length penalty of 0 equals False, and is given.
        return {name: value for name, value in vars(self).items() if value is not None and value is not False}


DEFAULT_SEARCH = Search()


def _predict(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    input: str = "-",
    output: str | None = None,
    format: Literal["doccano", "label-studio", "spacy", "conll"] | None = None,
    generate: Count | None = None,
    search: tyro.conf.OmitArgPrefixes[Search] = DEFAULT_SEARCH,
    input_format: DataFormat | None = None,
    split: Literal["train", "validation", "test"] | None = None,
    reading: tyro.conf.OmitArgPrefixes[Reading] = INFERRED,
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> None:
    """Predict from each line of a text, or from each row of a file in any format that training reads.

    Each answer is a line of JSON, in the order of the rows, with the row's id if it has one. Labels are not needed.

    Example: echo "a warm and funny film" | finetune predict runs/sentiment-bilstm

    Example: finetune predict runs/sentiment-bilstm --input reviews.csv --output answers.csv

    Args:
        model: folder of a run or of a model, or Hub id.
        input: file of rows, file of texts, one per line (.txt), or - for texts from standard input.
        output: file for the answers instead of standard output: .jsonl, .csv or .parquet.
        format: for ner: write what this annotation tool imports, or a CoNLL file.
        generate: for next_word: continue each text by this many tokens.
        input_format: format of the input, such as conll; needed only if it cannot be inferred.
        split: split to read; needed only if the input has several.
        revision: commit, tag or branch of a Hub model.
        trust_remote_code: run the code that comes with the model.
        allow_pickle: read weights from pytorch_model.bin if there are no safetensors.
    """
    options: dict[str, Any] = {} if generate is None else {"generate": generate}
    options |= search.options() | ({} if format is None else {"format": format})
    loading: dict[str, Any] = {
        "revision": revision,
        "trust_remote_code": trust_remote_code,
        "allow_pickle": allow_pickle,
    }
    data = None if input == "-" else _data(input, input_format, reading)
    if data is None:
        _check_standard_input({"input_format": input_format, "split": split, **reading.settings()})
    answers.check(output, input, format)
    arguments.check_model(model, revision, trust_remote_code, "revision")
    with startup.importing(*([] if data is None else ["pipeline.data.new_rows"])):
        from pipeline import inference

    if data is not None:
        found = inference.predict_rows(model, data, split, report=_report, **loading, **options)
    else:
        loaded = inference.load(model, **loading)
        found = (answer for texts in _lines() for answer in inference.answers(loaded, texts, **options))
    answers.write(found, output, format, flush=data is None)


def _report(line: str) -> None:
    print(f"data: {line}", file=sys.stderr, flush=True)  # stdout is for the answers


def _check_standard_input(flags: Mapping[str, Any]) -> None:
    if sys.stdin is None:
        raise UserError("input: standard input is closed; give --input FILE")
    given = [name for name, value in flags.items() if value is not None]
    if given:
        flag = given[0].replace("_", "-")
        raise UserError(f"{flag}: standard input is read as one text per line; give --input FILE, or remove --{flag}")


def _data(name: str, format: DataFormat | None, reading: Reading) -> Data:
    """The settings that read the file or folder `name`."""
    path = paths.local(name, "input")
    if not path.exists():
        raise UserError(f"input: there is no file {name}{nearby(path)}")
    settings = {"source": str(path), **reading.settings()}
    if format is None and path.is_file() and _is_plain_text(path, Data(**settings)):
        format = "txt"
    data = Data(**settings, format=format, separate=True if format == "txt" else None)
    try:
        sources.resolve(data)
    except UserError as error:
        message = str(error).replace("data.source:", "input:").replace("data.format", "--input-format")
        raise UserError(message) from error
    return data


def _is_plain_text(file: Path, data: Data) -> bool:
    """Whether each line of `file` is a text: it ends with .txt, or with something that names no format."""
    suffix = suffix_of(file)
    if suffix != ".txt" and (not suffix or suffix in DATA_SUFFIXES or suffix in REMEDIES):
        return False
    try:
        (part,) = sources.resolve(data).parts["train"]
    except UserError:
        return True
    shown = name_of(part.format)
    if shown != "txt" and suffix == ".txt":
        _report(f"{file} is read as one text per line, but looks like {shown}; if it is, add --input-format {shown}")
    return suffix == ".txt" or shown == "txt"


def _lines() -> Iterator[list[str]]:
    """Lines of standard input as they come, without line ends: many of a file at once, and single ones of a terminal or
    a slow pipe, whose answers do not wait for further ones. UTF-8 with or without a byte order mark."""
    number, begun = 0, b""
    with sys.stdin.buffer as stream:
        while data := stream.read1(BYTES):  # type: ignore[union-attr]
            *lines, begun = (begun + data).split(b"\n")
            yield [_decoded(line, place) for place, line in enumerate(lines, start=number + 1)]
            number += len(lines)
    if begun:
        yield [_decoded(begun, number + 1)]


def _decoded(line: bytes, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UserError(f"-:{number}: not UTF-8 at byte {error.start} of the line") from error


def command(given: Arguments) -> None:
    arguments.call(_predict, given, "finetune predict")
