"""Running text is cut where sentences end, in any script, and nowhere else."""

from __future__ import annotations

import re

import pytest

from pipeline.distil import sentences


def cut(text: str) -> list[str]:
    return [*sentences.cut(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It works. It really does! Does it? Yes…  Fine", ["It works.", "It really does!", "Does it?", "Yes…", "Fine"]),
        ("a film . it is ! not bad", ["a film .", "it is !", "not bad"]),  # a corpus in lower case
        ("First line\nsecond line.<br /><br />Third<BR>line", ["First line", "second line.", "Third", "line"]),
        ('He said "Stop." (And left.) "Why?" he asked.', ['He said "Stop."', "(And left.)", '"Why?" he asked.']),
        ("He met Dr. No and J. R. R. Tolkien. Then 3.5.", ["He met Dr. No and J. R. R. Tolkien.", "Then 3.5."]),
        ("In the U.S. Army, e.g. Tanks. Well... It runs.", ["In the U.S. Army, e.g. Tanks.", "Well...", "It runs."]),
        ("It was approx. five. See a.b?c=d or Wow!", ["It was approx. five.", "See a.b?c=d or Wow!"]),
        ("הסרט נפלא. האם הוא ארוך? לא! ״ממש לא.״ סוף", ["הסרט נפלא.", "האם הוא ארוך?", "לא!", "״ממש לא.״", "סוף"]),
        ("בראשית ברא׃ ויאמר", ["בראשית ברא׃", "ויאמר"]),
        ("这部电影很好。真的吗?是的！“很好。”完", ["这部电影很好。", "真的吗?是的！", "“很好。”", "完"]),
        ("映画です。「はい。」そう？", ["映画です。", "「はい。」", "そう？"]),
        ("هل أعجبك؟ نعم. جميل!", ["هل أعجبك؟", "نعم.", "جميل!"]),
        ("یہ فلم ہے۔ اچھی ہے۔", ["یہ فلم ہے۔", "اچھی ہے۔"]),
        ("यह फिल्म है। अच्छी है॥", ["यह फिल्म है।", "अच्छी है॥"]),
        ("???", ["???"]),
        (" \n <br> ", []),
        ("", []),
    ],
)  # fmt: skip
def test_a_text_is_cut_where_its_sentences_end(text, expected):
    assert cut(text) == expected


def test_cutting_loses_nothing_but_blanks_and_line_breaks():
    text = 'One. "Two!" (Three?) 四。五！ שש. Mr. Seven... eight\n\nnine <br/> U.S. ten'
    assert "".join("".join(cut(text)).split()) == "".join(re.sub("<br ?/>", "", text).split())


@pytest.mark.parametrize(
    ("text", "count"),
    [("a good film .", 4), ("סרט טוב", 2), ("这部电影很好", 3), ("a 好 b", 3), ("สวัสดีครับ", 2), ("", 0), (" \n", 0)],
)
def test_words_are_counted_with_and_without_blanks(text, count):
    assert sentences.words(text) == count


def test_long_lines_are_cut_in_linear_time():
    for text, count in ((f"{'.' * 20_000}a", 1), ("a. " * 20_000, 1), ("Ab. " * 20_000, 20_000), ("Ab.a" * 20_000, 1)):
        assert len(cut(text)) == count  # single letters are initials
