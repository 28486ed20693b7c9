"""Answers as HTML: whatever a user or a model has written is text, and each view shows what its task answers."""

from __future__ import annotations

import re

from pipeline.demo import views

NAME = {"start": 0, "end": 3, "text": "Ann", "type": "PER", "score": 0.91}
PLACE = {"start": 8, "end": 12, "text": "Rome", "type": "LOC", "score": 0.5}


def shown(*answers: dict | None, seconds: float = 0.0042) -> str:
    return views.cards({f"model {n}": answer and (answer, seconds) for n, answer in enumerate(answers)})


def words(page: str) -> list[str]:
    return re.sub(r"<[^>]+>", "\n", page).split()


def test_a_label_stands_above_the_bars_of_all_scores_the_highest_first():
    page = shown({"text": "x", "label": "good", "score": 0.75, "scores": {"bad": 0.25, "good": 0.75}})
    assert words(page) == ["model", "0", "4.2", "ms", "good", "good", "0.750", "bad", "0.250"]
    assert re.findall(r"inline-size:([\d.]+)%", page) == ["75.0", "25.0"]


def test_of_several_labels_those_above_their_thresholds_are_named():
    answer = {"text": "x", "labels": ["sad", "odd"], "scores": {"odd": 0.6, "new": 0.1, "sad": 0.7}}
    assert words(shown(answer))[4:] == ["sad", ",", "odd", "sad", "0.700", "odd", "0.600", "new", "0.100"]
    assert "no label" in shown({"text": "x", "labels": [], "scores": {"odd": 0.2}})


def test_of_many_labels_the_likeliest_are_shown_and_the_others_counted():
    scores = {f"label-{n}": 1 / (n + 2) for n in range(30)}
    page = shown({"text": "x", "label": "label-0", "score": 0.5, "scores": scores})
    assert page.count("<li") == views.SHOWN
    assert "and 20 more" in page


def test_entities_are_marked_where_they_stand_in_one_colour_per_type_for_all_models():
    text = "Ann saw Rome !"
    page = shown({"text": text, "entities": [NAME, PLACE]}, {"text": text, "entities": [PLACE]})
    marks = re.findall(r'<mark class="(k\d)">(\w+)\s<small dir="auto"><bdi dir="auto">(\w+)</bdi></small></mark>', page)
    assert marks == [("k1", "Ann", "PER"), ("k0", "Rome", "LOC"), ("k0", "Rome", "LOC")]
    assert '<p dir="auto" class="marked">' in page
    assert "no entity" in shown({"text": "nobody", "entities": []})


def test_next_words_and_numbers_are_shown():
    likely = [{"word": "mat", "probability": 0.5}, {"word": "<unk>", "probability": 0.125}]
    assert words(shown({"text": "on the", "next": likely}))[4:] == ["mat", "0.500", "&lt;unk&gt;", "0.125"]
    assert words(shown({"text": "x", "score": 3.5}, seconds=0.5))[2:] == ["500", "ms", "3.500"]


def test_a_translation_is_shown_in_its_own_direction():
    page = shown({"text": "Save", "translation": "שמור"})
    assert '<p dir="auto" class="answer"><bdi dir="auto">שמור</bdi></p>' in page


def test_a_model_that_has_not_answered_yet_has_a_card_that_waits():
    page = shown({"text": "x", "score": 1.0}, None)
    assert page.count("<article") == 2
    assert page.count('aria-busy="true"') == 1


def test_what_another_package_answers_is_shown_as_json():
    assert "&quot;sum&quot;: 3" in shown({"text": "x", "sum": 3})


def test_nothing_that_is_written_becomes_html():
    attack = "<img src=x onerror=alert(1)>"
    entity = {"start": 0, "end": len(attack), "text": attack, "type": attack, "score": 1.0}
    for answer in (
        {"text": attack, "entities": [entity]},
        {"text": attack, "label": attack, "scores": {attack: 1.0}},
        {"text": attack, "next": [{"word": attack, "probability": 1.0}]},
        {"text": attack, "translation": attack},
        {"text": attack, "else": attack},
    ):
        page = views.cards({attack: (answer, 0.1)})
        assert "<img" not in page
        assert "&lt;img" in page
