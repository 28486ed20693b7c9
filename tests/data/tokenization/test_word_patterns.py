"""Running text to words with their offsets, in every script."""

from __future__ import annotations

import pytest

from pipeline.data.tokenization.word_patterns import VOCABULARY, cut, splitter


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("EU rejects German call.", ["EU", "rejects", "German", "call", "."]),
        ("The U.S. isn't, e.g., John's", ["The", "U.S.", "is", "n't", ",", "e.g.", ",", "John", "'s"]),
        ("well-made 1,000.50 at 10:30!!!", ["well-made", "1,000.50", "at", "10:30", "!!!"]),
        ("@paulwalk #tag see https://t.co/a?b=1, ok", ["@paulwalk", "#tag", "see", "https://t.co/a?b=1", ",", "ok"]),
        ("example.com.Next O'Neill", ["example.com", ".", "Next", "O'Neill"]),
        ('(Paris) "AT&T"', ["(", "Paris", ")", '"', "AT&T", '"']),
        ("שָׁלוֹם, צה״ל בתל-אביב.", ["שָׁלוֹם", ",", "צה״ל", "בתל-אביב", "."]),
        ("می‌خواهم مَرْحَبًا नमस्ते", ["می‌خواهم", "مَرْحَبًا", "नमस्ते"]),
        ("👍🏽👩‍👩‍👧 a", ["👍🏽👩‍👩‍👧", "a"]),
        ("\u200fBob\u200e \u202aa", ["Bob", "a"]),
        (" \t\u00a0", []),
        ("", []),
    ],
)
def test_text_is_split_like_tagged_data(text, words):
    assert [text[start:end] for start, end in cut(text)] == words


def test_only_blanks_and_control_characters_are_left_out():
    text = "a,b\u200b \ufeffc… “d”—e\u2028f‏ג"
    assert "".join(text[start:end] for start, end in cut(text)) == "a,bc…“d”—efג"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('דובר צה"ל בארה"ב.', ["דובר", 'צה"ל', 'בארה"ב', "."]),
        ('ד"ר כהן, ב"כ ח"כים ומנכ"לית', ['ד"ר', "כהן", ",", 'ב"כ', 'ח"כים', 'ומנכ"לית']),
        ('"צה"ל" אמר', ['"', 'צה"ל', '"', "אמר"]),
        ('צַהַ"ל', ['צַהַ"ל']),
        ('נכתב ב"הארץ" וב"ידיעות אחרונות"', ["נכתב", "ב", '"', "הארץ", '"', "וב", '"', "ידיעות", "אחרונות", '"']),
        ('ה"ים התיכון" ו"א"', ["ה", '"', "ים", "התיכון", '"', "ו", '"', "א", '"']),
        ('הוא אמר "שלום" ו "לא"', ["הוא", "אמר", '"', "שלום", '"', "ו", '"', "לא", '"']),
        ('a"b 5"ק', ["a", '"', "b", "5", '"', "ק"]),
    ],
)
def test_a_quotation_mark_in_a_hebrew_acronym_is_one_of_its_letters_and_any_other_is_a_word(text, words):
    assert [text[start:end] for start, end in cut(text)] == words
    assert [word for word, _ in splitter(VOCABULARY).pre_tokenize_str(text)] == words
