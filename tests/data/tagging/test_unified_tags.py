"""Tags of all splits: the form in which they are written, their names, and one scheme for all."""

from __future__ import annotations

import random

import pytest
from datasets import Dataset

from pipeline.data.rows import Places
from pipeline.data.tagging import tags
from pipeline.data.tagging.unified_tags import unify
from pipeline.errors import UserError

NAMES = {split: Places((f"{split}.conll",), f"{split}.conll") for split in ("train", "test")}


def split(rows, with_lines=True):
    lines = [list(range(10 * number + 1, 10 * number + 1 + len(own))) for number, own in enumerate(rows)]
    columns = {"tags": rows, "line": [10 * number + 1 for number in range(len(rows))]}
    return Dataset.from_dict({**columns, "lines": lines if with_lines else [None] * len(rows)})


def unified(tmp_path, train, test=None, scheme="iob2", **source):
    splits = {"train": split(train), **({"test": split(test)} if test else {})}
    found = unify(splits, NAMES, scheme, tmp_path, **source)
    return found, {name: rows["tags"][:] for name, rows in found.splits.items()}


def test_splits_are_converted_to_one_scheme_and_invalid_tags_are_reported_with_their_lines(tmp_path):
    found, rows = unified(tmp_path, [["B-X", "E-X"], ["O", "E-X", "O"], ["S-Y"]], [["I-X", "I-X"], ["O", "O"]])
    assert found.found == "BIOES"
    assert rows == {"train": [["B-X", "I-X"], ["O", "B-X", "O"], ["B-Y"]], "test": [["B-X", "I-X"], ["O", "O"]]}
    assert found.warnings == [
        "tags are BIOES; converted to IOB2",
        "3 tags are invalid in BIOES and were read as conlleval reads them (a tag that continues no entity begins one):"
        " train.conll:12 E-X after O, test.conll:1 I-X after O, test.conll:2 the end after I-X",
    ]
    assert found.splits["train"].column_names == ["tags", "line"]


def test_tags_that_are_as_they_should_be_are_kept(tmp_path):
    found, rows = unified(tmp_path, [["B-X", "I-X", "O"]], [["O"]])
    assert (found.found, found.warnings) == ("IOB2", [])
    assert rows == {"train": [["B-X", "I-X", "O"]], "test": [["O"]]}
    assert found.splits["train"].column_names == ["tags", "line"]


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "BIOES", "BILOU", "BMES", "BMEWO"])
def test_the_scheme_is_detected_over_all_splits(tmp_path, scheme):
    """The training split alone, of words outside, could be of any scheme."""
    entity = {
        "IOB1": ["I-X", "I-X", "B-X"],
        "IOB2": ["B-X", "I-X", "B-X"],
        "BIOES": ["B-X", "E-X", "S-X"],
        "BILOU": ["B-X", "L-X", "U-X"],
        "BMES": ["B-X", "M-X", "E-X"],
        "BMEWO": ["B-X", "M-X", "E-X", "W-X"],
    }[scheme]
    found, rows = unified(tmp_path, [["O", "O"]], [["O", *entity, "O"]])
    assert found.found == scheme
    assert rows["test"] == [tags.convert(["O", *entity, "O"], "iob2")]


def test_the_scheme_with_fewer_invalid_tags_is_chosen(tmp_path):
    sentences = [["I-P", "I-P"], ["I-P", "B-P"], ["I-X", "O", "I-X"], ["B-P", "I-P"]]
    assert unified(tmp_path, sentences)[0].found == "IOB1"
    assert unified(tmp_path, sentences + [["B-P", "I-P"], ["B-X", "O"]] * 5)[0].found == "IOB2"


def test_random_tags_are_converted_as_sentence_by_sentence(tmp_path):
    generator = random.Random(0)
    choices = ["O", "B-X", "I-X", "E-Y", "S-Y", "I-Y"]
    sentences = [[generator.choice(choices) for _ in range(generator.randint(1, 9))] for _ in range(300)]
    for scheme in ("iob2", "bioes"):
        found, rows = unified(tmp_path, sentences, scheme=scheme)
        assert rows["train"] == [tags.convert(sentence, scheme) for sentence in sentences]
        broken = sum(1 for sentence in sentences for _ in tags.breaks(sentence, "BIOES"))
        assert found.warnings[-1].startswith(f"{broken} tags are invalid in BIOES")


@pytest.mark.parametrize(
    ("sentences", "expected", "warning"),
    [
        (
            [["B_PER", "I_PER", "O", "B_geo-loc"]],
            [["B-PER", "I-PER", "O", "B-geo-loc"]],
            "tags are read as B_PER = B-PER, B_geo-loc = B-geo-loc, I_PER = I-PER",
        ),
        ([["PER-B", "PER-I", "O"]], [["B-PER", "I-PER", "O"]], "tags are read as PER-B = B-PER, PER-I = I-PER"),
        ([["PER_B", "O"]], [["B-PER", "O"]], "tags are read as PER_B = B-PER"),
        ([["b-per", "i-per", "o"]], [["B-per", "I-per", "O"]], "tags are read as b-per = B-per, i-per = I-per, o = O"),
        ([["B-PER", "0", "О"]], [["B-PER", "O", "O"]], "tags are read as 0 = O, О = O"),
        ([["B-PER ", " O"]], [["B-PER", "O"]], None),
        ([["B-PER", "_", "_"]], [["B-PER", "O", "O"]], "tags are read as _ = O"),
        (
            [["person-artist", "person-artist", "O", "place", "person-artist"], ["place", "O"]],
            [["B-person-artist", "I-person-artist", "O", "B-place", "B-person-artist"], ["B-place", "O"]],
            "tags are types without B- or I-: words of one type in a row are one entity",
        ),
        (
            [["OTHER", "PER", "PER", "OTHER", "OTHER"]],
            [["O", "B-PER", "I-PER", "O", "O"]],
            "tags are types without B- or I-: words of one type in a row are one entity",
        ),
        (
            [["B", "I", "O"], ["B"]],
            [["B-ENT", "I-ENT", "O"], ["B-ENT"]],
            "tags have no type (B, I), so their entities are of the type ENT; to name it, set data.label_names"
            " (B=B-PER I=I-PER)",
        ),
        (
            [["B", "M", "E", "S"]],
            [["B-ENT", "I-ENT", "I-ENT", "B-ENT"]],
            "tags have no type (B, E, M, S), so their entities are of the type ENT; to name it, set data.label_names"
            " (B=B-PER E=E-PER M=M-PER S=S-PER)",
        ),
    ],
)
def test_tags_of_every_form_are_read_and_reported(tmp_path, sentences, expected, warning):
    found, rows = unified(tmp_path, sentences)
    assert rows["train"] == expected
    assert found.warnings[:1] == ([warning] if warning else [])


def test_the_form_is_decided_over_all_splits(tmp_path):
    """S-Bahn alone is a tag of BIOES; next to other types it is one of them."""
    found, rows = unified(tmp_path, [["S-Bahn", "O"], ["bus", "O", "tram", "bus"]], [["S-Bahn"]])
    assert found.found == "IO"
    assert rows["test"] == [["B-S-Bahn"]]


def test_letters_get_the_type_of_a_model_that_knows_one(tmp_path):
    _, rows = unified(tmp_path, [["B", "I", "O"]], known=["O", "B-Disease", "I-Disease"])
    assert rows["train"] == [["B-Disease", "I-Disease", "O"]]


def test_letters_get_the_type_that_label_names_gives(tmp_path):
    found, rows = unified(tmp_path, [["B", "I", "O"]], given={"B": "B-PER", "I": "I-PER"})
    assert rows["train"] == [["B-PER", "I-PER", "O"]]
    assert found.warnings == []


def test_numbers_get_the_names_of_the_source_and_then_those_that_are_given(tmp_path):
    found, rows = unified(tmp_path, [["1", "0", "2"]], classes=["O", "B-PER", "B-LOC"], given={"2": "B-GPE"})
    assert rows["train"] == [["B-PER", "O", "B-GPE"]]
    assert found.label_names == ["O", "B-PER", "B-GPE"]
    found, rows = unified(tmp_path, [["1", "0"]], classes=["O", "person", "building"])
    assert rows["train"] == [["B-person", "O"]]
    assert found.label_names == ["O", "I-person", "I-building"]


def test_numbers_are_ids_of_a_model_if_nothing_else_names_them(tmp_path):
    found, rows = unified(tmp_path, [["10", "0", "2"]], known=["O", "B-A", "I-A", *"ABCDEFG", "B-B"])
    assert rows["train"] == [["B-B", "O", "B-A"]]
    assert found.warnings[0] == "the tags are read as ids of the model's labels: 0 = O, 2 = I-A, 10 = B-B"


def test_splits_without_tags_are_unlabelled(tmp_path):
    found, rows = unified(tmp_path, [["B-X", "O"]], [["-1", "-1"]])
    assert (list(rows), found.unlabelled) == (["train"], ["test"])
    found, rows = unified(tmp_path, [["B-X", "O"]], [[], []])
    assert found.unlabelled == ["test"]


@pytest.mark.parametrize(
    ("sentences", "source", "message"),
    [
        ([["O"], ["B-X", "VBZ"]], {}, "train.conll:12: 'VBZ' is not a tag; expected O, or B-, I-, E- or S- and a type"),
        ([["NNP", "VBZ"]], {}, "train.conll:1: 'NNP' is not a tag; "),
        ([["B-X", ""]], {}, "train.conll:2: '' is not a tag; "),
        ([["B-X", "3"]], {}, "train.conll:2: the number 3 has no name; write tags as texts, such as B-PER, name"),
        (
            [["0", "3"]],
            {"classes": ["O", "B-X"]},
            "train.conll:2: the number 3 has no name; there are only names for 0",
        ),
        ([["0", "3"]], {"given": {"0": "O"}}, "train.conll:2: the number 3 has no name; there are only names for 0"),
        ([["0", "3"]], {"known": ["O", "B-X"]}, "train.conll:2: the number 3 has no name; "),
    ],
)
def test_what_is_not_a_tag_is_refused_with_its_line(tmp_path, sentences, source, message):
    with pytest.raises(UserError) as refusal:
        unified(tmp_path, sentences, **source)
    assert str(refusal.value).startswith(message)
    assert "\n" not in str(refusal.value)


def test_a_tag_without_a_line_of_its_own_is_named_by_its_place_in_the_row(tmp_path):
    splits = {"train": split([["O"], ["B-X", "VBZ"]], with_lines=False)}
    with pytest.raises(UserError, match=r"train.conll:11: tag 2: 'VBZ' is not a tag"):
        unify(splits, NAMES, "iob2", tmp_path)
