"""The labels of models as tags: what each means, and which label a tag gets."""

from __future__ import annotations

import itertools

import pytest

from pipeline.data.tagging.model_labels import read
from pipeline.data.tagging.tags import SPELLINGS, convert


@pytest.mark.parametrize("spelling", ["BIES", "BILU", "BMES", "BMEW"])
def test_each_spelling_of_bioes_means_the_same(spelling):
    labels = ["O", *(f"{prefix}-{kind}" for kind in ("X", "Y") for prefix in spelling)]
    known = read(labels)
    assert (known.scheme, known.types, known.has_begin) == ("bioes", {"X", "Y"}, True)
    assert known.iob2 == ["O", *(f"{prefix}-{kind}" for kind in ("X", "Y") for prefix in "BIIB")]
    for index, label in enumerate(labels):
        prefix, _, kind = label.partition("-")
        assert known.id_of(SPELLINGS.get(prefix, prefix), kind) == index


@pytest.mark.parametrize(
    ("labels", "tags"),
    [
        (["O", "B-X", "I-X"], ["B-X", "I-X", "I-X", "B-X"]),
        (["O", "I-X"], ["I-X"] * 4),
        (["O", "I-X", "E-X"], ["I-X", "I-X", "E-X", "E-X"]),
        (["O", "B-X", "I-X", "E-X"], ["B-X", "I-X", "E-X", "B-X"]),
        (["O", "X"], ["X"] * 4),
    ],
    ids=["IOB2", "IOB1", "IOE2", "no S", "types"],
)
def test_a_tag_that_a_model_lacks_is_the_nearest_that_it_has(labels, tags):
    known = read(labels)
    assert [labels[known.id_of(prefix, "X")] for prefix in "BIES"] == tags
    assert known.id_of("O", "") == 0
    assert known.id_of("B", "Y") is None


def test_labels_without_o_are_types():
    known = read(["LABEL_0", "LABEL_1"])
    assert (known.iob2, known.id_of("O", "")) == (["I-LABEL_0", "I-LABEL_1"], None)


def test_a_type_may_begin_like_a_prefix():
    """S-Bahn and E-mail are types where PER is one."""
    assert read(["O", "PER", "E-mail", "LOC"]).types == {"PER", "E-mail", "LOC"}
    assert read(["O", "B-E-mail", "I-E-mail"]).types == {"E-mail"}


@pytest.mark.parametrize("scheme", ["iob2", "bioes"])
def test_the_outward_names_of_a_valid_sequence_are_the_same_entities(scheme):
    prefixes = "BI" if scheme == "iob2" else "BIES"
    labels = ["O", *(f"{prefix}-{kind}" for kind in "XY" for prefix in prefixes)]
    outward = dict(zip(labels, read(labels).iob2, strict=True))
    for tags in itertools.product(["O", "B-X", "I-X", "B-Y"], repeat=5):
        valid = convert(tags, scheme)
        assert [outward[tag] for tag in valid] == convert(tags, "iob2")
