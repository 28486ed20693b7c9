"""Label Studio's tasks: the annotation that counts, its spans or choices, and predictions to be corrected."""

from __future__ import annotations

import pytest
from annotation_rows import adapted, tagged

from pipeline.errors import UserError


def region(start, end, kind, text=None):
    value = {"start": start, "end": end, "labels": [kind], **({"text": text} if text else {})}
    return {"id": "x", "from_name": "label", "to_name": "text", "type": "labels", "value": value}


def task(text, *results, name="annotations", **more):
    return {"id": 5, "data": {"text": text}, name: [{"id": 1, "result": list(results), "was_cancelled": False, **more}]}


@pytest.mark.parametrize("name", ["annotations", "completions"])
def test_spans_of_tasks_are_read(name):
    found = tagged([task("Ann left Rome", region(0, 3, "PER", "Ann"), region(9, 13, "LOC"), name=name)])
    assert found == ["Ann/B-PER left Rome/B-LOC"]


def test_predictions_are_read_and_reported_if_there_are_no_annotations():
    found, warnings = adapted([task("Ann left", region(0, 3, "PER"), name="predictions")])
    assert found[0]["tags"] == ["B-PER", "O"]
    assert warnings == ["file: no task has an annotation, so the predictions of 1 tasks were read (line 1)"]


def test_cancelled_annotations_and_tasks_without_one_are_left_out_and_counted():
    cancelled = task("Bob left", region(0, 3, "PER"), was_cancelled=True)
    done = task("Ann left", region(0, 3, "PER"))
    open_ = {"id": 2, "data": {"text": "Eve left"}, "annotations": [], "predictions": [{"result": [region(0, 3, "X")]}]}
    found, warnings = adapted([done, cancelled, open_, task("It rains")])
    assert [row["text"] for row in found] == ["Ann left", "It rains"]
    assert found[1]["tags"] == ["O", "O"]
    assert warnings == [
        "file: 1 tasks whose annotations were all cancelled were left out (line 2)",
        "file: 1 tasks without an annotation were left out (line 3)",
    ]


def test_of_several_annotations_the_ground_truth_or_the_first_counts():
    first = task("Ann left", region(0, 3, "A"))
    second = {"result": [region(0, 3, "B")]}
    first["annotations"].append(second)
    found, warnings = adapted([first])
    assert found[0]["tags"] == ["B-A", "O"]
    assert "several annotations" in warnings[0]
    second["ground_truth"] = True
    assert adapted([first])[0][0]["tags"] == ["B-B", "O"]


def test_relations_are_ignored_and_other_results_counted():
    choice = {"type": "choices", "from_name": "c", "to_name": "text", "value": {"choices": ["good"]}}
    found, warnings = adapted([task("Ann left", region(0, 3, "PER"), {"type": "relation", "from_id": "x"}, choice)])
    assert found[0]["tags"] == ["B-PER", "O"]
    assert warnings == ["file: 1 results that are not spans of a text were ignored (line 1 choices)"]


def test_the_text_is_found_whatever_its_name_or_asked_for():
    row = task("", region(0, 3, "PER"))
    row["data"] = {"ner": "Ann left", "n": 3}
    assert tagged([row]) == ["Ann/B-PER left"]
    row["data"] = {"a": "Ann left", "b": "Bob left"}
    with pytest.raises(UserError, match=r"not clear which field is the text of the tasks; rename one .* to text: a, b"):
        adapted([row])
    assert tagged([row], token_column="a") == ["Ann/B-PER left"]


def test_a_task_that_is_no_task_is_refused_with_its_line():
    good = task("Ann left", region(0, 3, "PER"))
    with pytest.raises(UserError, match=r"^file:2: annotations is 1.5; expected a list of objects"):
        adapted([good, {**good, "annotations": 1.5}])
    with pytest.raises(UserError, match=r"^file:2: the task has no data"):
        adapted([good, {**good, "data": None}])


def test_spans_in_html_are_refused():
    value = {"start": "/p[1]/text()[1]", "startOffset": 0, "endOffset": 3, "hypertextlabels": ["PER"]}
    with pytest.raises(UserError, match="places in HTML"):
        adapted([task("<p>Ann</p>", {"type": "hypertextlabels", "value": value})])


def test_two_labels_of_a_span_are_refused_like_overlapping_spans():
    both = region(0, 3, "PER")
    both["value"]["labels"] = ["PER", "ORG"]
    with pytest.raises(UserError, match="overlap"):
        adapted([task("Ann left", both)])


def choices(*names):
    return {"type": "choices", "from_name": "sentiment", "to_name": "text", "value": {"choices": list(names)}}


def test_choices_are_labels_of_texts():
    found, warnings = adapted([task("fine", choices("good")), task("bad", choices("poor")), task("hm")], "sentiment")
    assert [(row["text"], row["label"]) for row in found] == [("fine", "good"), ("bad", "poor"), ("hm", None)]
    assert warnings == []
    found, _ = adapted([task("fine", choices("good", "short")), task("bad", choices("poor"))], "sentiment")
    assert [row["label"] for row in found] == [["good", "short"], ["poor"]]


def test_tasks_are_texts_for_a_task_without_labels():
    found, _ = adapted([{"id": 1, "data": {"text": "a b"}, "annotations": []}], "next_word")
    assert found == [{"id": 1, "text": "a b"}]
