"""How errors of libraries are reported: one short line without the names of exceptions; a full disk is not a bug."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pipeline.errors import UserError, listing, reason, suggest, writing


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("Couldn't deserialize thrift: TProtocolException: Invalid data", "Couldn't deserialize thrift: Invalid data"),
        ("json.decoder.JSONDecodeError: Expecting value", "Expecting value"),
        ("Error while\ndeserializing   header", "error while deserializing header"),
        ("x" * 1000, "x" * 297 + "..."),
        ("", "no reason given"),
    ],
)
def test_a_reason_is_one_short_line_without_the_names_of_exceptions(message, line):
    assert reason(RuntimeError(message)) == line


def test_however_many_names_there_are_the_line_can_be_read():
    assert listing([f"c{n}" for n in range(22)]).endswith("c18, c19 and 2 more")
    assert len(suggest("x", ["long " * 1000] * 3)) < 250


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_reported_in_one_line(error):
    with pytest.raises(UserError) as refusal, writing("train.output_dir", Path("out")):
        raise error
    assert str(refusal.value) == (
        "train.output_dir: cannot write to out: No space left on device; make room or name another folder"
    )


@pytest.mark.parametrize("error", [RuntimeError("ours"), FileNotFoundError(errno.ENOENT, "gone"), UserError("mended")])
def test_errors_that_do_not_come_from_the_disk_pass(error):
    with pytest.raises(type(error)) as passed, writing("train.output_dir", Path("out")):
        raise error
    assert passed.value is error
