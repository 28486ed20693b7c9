"""Plain text: a row a line, and a text of one very long line in rows that are cut at blanks."""

from __future__ import annotations

import pytest

from pipeline.config.data import Data
from pipeline.data.readers import common
from pipeline.data.readers.plain_text import LONG_LINE, ROW, read


def rows_of(file, content: str | bytes, warnings: list[str] | None = None, **settings) -> list[tuple[int, str]]:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = read(file, Data(str(file), **settings), [] if warnings is None else warnings)
    return [(line, row["text"]) for batch in found for row in batch.to_pylist() for line in [row[common.LINE]]]


WORDS = " ".join(f"word{number}" for number in range(5000))


@pytest.mark.parametrize("chunk", [1 << 20, 5000, 997])
def test_a_text_of_one_line_is_cut_at_blanks_into_rows_without_loss(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(common, "CHUNK_BYTES", chunk)
    warnings: list[str] = []
    rows = rows_of(tmp_path / "text8", WORDS, warnings)
    assert {line for line, _ in rows} == {1}
    assert max(len(text) for _, text in rows) <= ROW
    assert " ".join(text for _, text in rows) == WORDS
    assert len(warnings) == 1
    assert f"lines of more than {LONG_LINE} bytes are cut at blanks, into rows of up to {ROW} characters" in warnings[0]


@pytest.mark.parametrize("chunk", [1 << 20, 5000, 997])
def test_lines_around_a_long_one_keep_their_numbers(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(common, "CHUNK_BYTES", chunk)
    rows = rows_of(tmp_path / "a.txt", f"first\r\n\r\n{WORDS}\r\nfourth\nfifth")
    assert rows[:2] == [(1, "first"), (2, "")]
    assert rows[-2:] == [(4, "fourth"), (5, "fifth")]
    assert " ".join(text for line, text in rows if line == 3) == WORDS


@pytest.mark.parametrize("chunk", [1 << 20, 5000, 998])
def test_a_text_without_blanks_is_cut_between_characters(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(common, "CHUNK_BYTES", chunk)
    text = "".join(chr(0x4E00 + number % 5000) for number in range(20_000))
    rows = rows_of(tmp_path / "a.txt", text)
    assert len(rows) > 5
    assert "".join(row for _, row in rows) == text


def test_documents_on_lines_are_not_cut(tmp_path):
    assert rows_of(tmp_path / "a.txt", f"{WORDS}\nshort\n", separate=True) == [(1, WORDS), (2, "short")]


def test_lines_that_are_not_very_long_are_whole(tmp_path):
    line = WORDS[: LONG_LINE - 10]
    assert rows_of(tmp_path / "a.txt", f"{line}\n\n{line}\n") == [(1, line), (2, ""), (3, line)]
