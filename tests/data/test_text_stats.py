"""Statistics of texts: equal texts are found, and scripts are measured."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.data.text_stats import digests, normalised, right_to_left_share, script_shares


def test_texts_are_equal_after_normalising_case_blanks_and_punctuation():
    assert normalised("  Good,\tMOVIE!! ") == normalised("good movie") == "good movie"
    one, other, exact = (
        digests(pa.array(texts), exact)
        for texts, exact in ((["Ａ b.", "a B"], False), (["a b"] * 2, False), (["a b", "a  b"], True))
    )
    assert one.tolist() == other.tolist()
    assert exact[0] != exact[1]


def test_texts_without_letters_stay_different():
    assert len(set(digests(pa.array(["👍", "👎", "!!!", "???"])).tolist())) == 4


def test_scripts_are_shares_of_the_letters_with_the_most_common_first():
    assert script_shares(["שלום", "ab 12!"]) == {"Hebrew": pytest.approx(4 / 6), "Latin": pytest.approx(2 / 6)}
    assert script_shares(["a" * 999, "я"]) == {"Latin": 0.999}
    assert script_shares(["123", ""]) == {}


@pytest.mark.parametrize(("texts", "share"), [(["שלום"], 1.0), (["ab", "مر"], 0.5), (["12 !"], 0.0), ([], 0.0)])
def test_the_right_to_left_share_counts_letters_only(texts, share):
    assert right_to_left_share(texts) == share
