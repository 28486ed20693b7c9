"""Spans of tokens: GLiNER's, and those of files whose ends are the last token or the place after it."""

from __future__ import annotations

import pytest
from annotation_rows import adapted, tagged

from pipeline.errors import UserError

TOKENS = ["Ann", "Lee", "left", "Rome"]
TAGGED = ["Ann/B-PER Lee/I-PER left Rome/B-LOC"]


def test_spans_of_gliner_end_with_their_last_token():
    assert tagged([{"tokenized_text": TOKENS, "ner": [[0, 1, "PER"], [3, 3, "LOC"]]}]) == TAGGED
    assert tagged([{"tokenized_text": TOKENS, "ner": [[0, 1, "PER"]]}]) == ["Ann/B-PER Lee/I-PER left Rome"]


def spans(*places):
    return [{"start": start, "end": end, "type": kind} for start, end, kind in places]


def test_what_an_end_is_follows_from_the_file():
    assert tagged([{"tokens": TOKENS, "entities": spans((0, 2, "PER"), (3, 4, "LOC"))}]) == TAGGED
    assert tagged([{"tokens": TOKENS, "entities": spans((0, 1, "PER"), (3, 3, "LOC"))}]) == TAGGED
    own = {"start": 0, "end": 2, "type": "PER", "text": "Ann Lee"}
    assert tagged([{"tokens": TOKENS, "entities": [own]}]) == ["Ann/B-PER Lee/I-PER left Rome"]
    with pytest.raises(UserError, match="not clear whether ends are the last token of a span or the place after it"):
        adapted([{"tokens": TOKENS, "entities": spans((0, 1, "PER"))}])
    with pytest.raises(UserError, match="some ends are the last token"):
        adapted([{"tokens": TOKENS, "entities": spans((0, 0, "PER"), (3, 4, "LOC"))}])


def test_spans_of_characters_next_to_tokens_are_not_taken_for_spans_of_tokens():
    rows = [{"text": "Ann Lee left Rome", "tokens": TOKENS, "entities": spans((0, 7, "PER"), (13, 17, "LOC"))}]
    assert tagged(rows) == TAGGED


def test_a_span_outside_the_tokens_is_refused_with_its_line():
    rows = [{"tokenized_text": TOKENS, "ner": [[0, 1, "PER"]]}, {"tokenized_text": TOKENS, "ner": [[3, 4, "LOC"]]}]
    with pytest.raises(UserError, match=r"^file:2: the span 3 to 4 \(LOC\) is not one of the 4 tokens"):
        adapted(rows)


def test_overlapping_spans_follow_the_same_rule_as_others():
    row = {"tokenized_text": TOKENS, "ner": [[0, 1, "PER"], [1, 1, "X"]]}
    with pytest.raises(UserError, match="overlap"):
        adapted([row])
    assert adapted([row], overlaps="longest")[0][0]["tags"] == ["B-PER", "I-PER", "O", "O"]
