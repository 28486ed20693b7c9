"""Tables with a span in each row: the rows of a text become one."""

from __future__ import annotations

import pytest
from annotation_rows import adapted, tagged

from pipeline.errors import UserError


def row(text, start, end, label, **more):
    return {"id": "1", "text": text, "start": start, "end": end, "label": label, **more}


def test_spans_of_a_text_become_one_row():
    rows = [row("Ann left Rome", 0, 3, "PER"), row("Ann left Rome", "9", "13", "LOC"), row("Bob", 0.0, 3.0, "PER")]
    assert tagged(rows) == ["Ann/B-PER left Rome/B-LOC", "Bob/B-PER"]


@pytest.mark.parametrize("missing", [None, "", float("nan")])
def test_a_row_without_a_span_is_a_text(missing):
    rows = [row("Ann left", 0, 3, "PER"), row("So it goes", missing, missing, missing)]
    assert tagged(rows) == ["Ann/B-PER left", "So it goes"]


def test_the_texts_of_spans_tell_what_offsets_count():
    found, warnings = adapted([row("Ann left", 0, 2, "PER", mention="Ann")])
    assert found[0]["tags"] == ["B-PER", "O"]
    assert "the end being the last one" in warnings[0]


def test_rows_of_a_text_that_are_apart_are_refused():
    rows = [row("Ann left", 0, 3, "PER"), row("Bob", 0, 3, "PER"), row("Ann left", 4, 8, "X")]
    with pytest.raises(UserError, match=r"^file:3: there are rows of the text 'Ann left' further up; sort the rows"):
        adapted(rows)


def test_a_span_that_cannot_be_read_is_refused_with_its_line():
    rows = [row("Ann left", 0, 3, "PER"), row("Ann left", 4, 8, "X"), row("Bob", 0, None, "PER")]
    with pytest.raises(UserError, match=r"^file:3: expected a list of spans"):
        adapted(rows)
