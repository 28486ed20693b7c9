"""Which split a name stands for."""

from __future__ import annotations

import pytest

from pipeline.config.files.split_names import assigned


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["test", "dev", "train"], {"test": "test", "dev": "validation", "train": "train"}),
        (["dev", "validation"], {"dev": None, "validation": "validation"}),
        (["validation_matched", "train"], {"validation_matched": "validation", "train": "train"}),
        (
            ["validation_matched", "validation_mismatched"],
            {"validation_matched": "validation", "validation_mismatched": None},
        ),
        (["test", "test_hard", "unsupervised"], {"test": "test", "test_hard": None, "unsupervised": None}),
    ],
)
def test_a_name_of_its_own_comes_before_another_usual_one_and_one_that_mentions_the_split(names, found):
    assert assigned(names) == found
