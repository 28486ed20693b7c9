"""The heat maps of attention: which tokens make a word, what is added up, and how they are written."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import run_folders
import verdicts

from pipeline.compare.page import attention
from pipeline.compare.page.figures import Figures
from pipeline.compare.page.view import View

HEBREW = "הקובץ לא נמצא"


def section_of(runs: list[Path]) -> str | None:
    return attention.section(View(verdicts.a_verdict(runs)), Figures())


def with_attention(run: Path, source: list[str], target: list[str], weights: list[list[float]]) -> None:
    """Keep this attention of the first row alone."""
    file = run / "predictions/test.parquet"
    table = pq.read_table(file)
    kept = [{"source": source, "target": target, "weights": weights}, *[None] * (table.num_rows - 1)]
    place = table.column_names.index("attention")
    pq.write_table(table.set_column(place, "attention", pa.array(kept, table.schema.field(place).type)), file)


@pytest.mark.parametrize(
    ("tokens", "words", "shown"),
    [
        (["The", " fi", "le", ".", "</s>"], ["The", "file.", "</s>"], ["The", "fi", "…le", ".", "</s>"]),
        (["[CLS]", "a", " b", "[SEP]"], ["[CLS]", "a", "b", "[SEP]"], ["[CLS]", "a", "b", "[SEP]"]),
        (["f", "i", " ", "b"], ["fi", "b"], ["f", "…i", "␣", "b"]),  # characters
        (["", "ש", "", "ל", " ", "", "a"], ["של", "a"], ["ש", "…ל", "␣", "a"]),  # bytes
        (["電影", "好", " ok"], ["電影", "好", "ok"], ["電影", "好", "ok"]),
        (["do", "n't"], ["don't"], ["do", "…n't"]),
        (["", "a", ""], ["a"], ["a", "␣"]),
    ],
)
def test_tokens_are_joined_to_what_stands_between_blanks(tokens, words, shown):
    found = attention.pieces(tokens)
    assert [piece.shown for piece in found] == shown
    assert [word.shown for word in attention.words(found)] == words
    for parts in (found, attention.words(found)):
        assert [number for piece in parts for number in piece.tokens] == list(range(len(tokens)))


def test_weights_are_added_up_over_a_word_and_their_mean_is_taken_over_the_bytes_of_a_character():
    weights = np.random.default_rng(0).dirichlet(np.ones(5), 3)
    columns = attention.words(attention.pieces(["The", " fi", "le", ".", "</s>"]))
    rows = attention.pieces(["", "ש", "</s>"])
    found = attention.shares(weights, rows, columns)
    expected = [
        [np.mean([sum(weights[t, s] for s in word.tokens) for t in piece.tokens]) for word in columns] for piece in rows
    ]
    assert found.shape == (2, 3)
    assert found == pytest.approx(np.array(expected))
    assert found.sum(axis=1) == pytest.approx(1.0)


def test_a_map_has_a_column_for_each_word_of_the_source_and_a_row_for_each_token(tmp_path):
    run = run_folders.write_run(tmp_path / "a", "translations", rows=20)
    weights = [[0.04, 0.5, 0.3, 0.16], [0.02, 0.02, 0.0, 0.96]]
    with_attention(run, ["The", " <b", ">", "</s>"], ["<i>", "</s>"], weights)
    text = section_of([run])
    (picture,) = re.findall('<table class="map">(.*?)</table>', text, re.DOTALL)
    heads = [
        html.unescape(re.sub("<.*?>", "", head))
        for head in re.findall('<th scope="col">(.*?)</th>', picture, re.DOTALL)
    ]
    assert heads == ["written ↓\nsource →", "The", "<b>", "</s>"]
    rows = re.findall('<tr><th scope="row">(.*?)</th>(.*?)</tr>', picture)
    assert [html.unescape(re.sub("<.*?>", "", name)) for name, _ in rows] == ["<i>", "</s>"]
    assert [re.findall("<td.*?>(.*?)</td>", cells) for _, cells in rows] == [["", "80", "16"], ["", "", "96"]]
    assert '<td><bdi dir="auto">&lt;b&gt;</bdi> 80\xa0%, <bdi dir="auto">&lt;/s&gt;</bdi> 16\xa0%</td>' in text


@pytest.mark.parametrize(("source", "direction"), [(HEBREW, "rtl"), ("the file", "ltr"), (f"1. {HEBREW} a", "rtl")])
def test_the_words_of_a_source_from_right_to_left_run_from_right_to_left(source, direction, tmp_path):
    run = run_folders.write_run(tmp_path / "a", "translations", rows=20)
    tokens = [f" {word}" for word in source.split()]
    with_attention(run, tokens, [" a"], [[1.0, *[0.0] * (len(tokens) - 1)]])
    assert f'<div class="scroll" dir="{direction}" tabindex="0"><table class="map">' in section_of([run])


def test_models_without_attention_are_named_and_have_no_map(tmp_path):
    runs = [
        run_folders.write_run(tmp_path / name, "translations", rows=20, skill=skill, hidden_size=size, attends=attends)
        for name, skill, size, attends in (("a", 0.9, 8, True), ("b", 0.7, 9, False), ("c", 0.5, 10, True))
    ]
    text = section_of(runs)
    assert "No attention was kept for B." in text
    assert text.count('<table class="map">') == 2 * attention.MOST_ROWS
    assert text.count("<details open>") == 1


def test_runs_that_have_kept_no_attention_have_no_section(tmp_path):
    run = run_folders.write_run(tmp_path / "a", "translations", rows=20, attends=False)
    assert section_of([run]) is None
