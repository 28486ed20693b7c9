"""What a word is, as regular expressions: for vocabularies of words, and for text that is tagged word by word.

Both split off English clitics, as the Penn Treebank and published word vectors do (do n't, it 's), keep the marks of a
letter with it, and treat an emoji with its modifiers as one word. They differ in what else they keep whole: in tagged
data, `well-made`, `10:30` and a URL are one word each, while a vocabulary is better off with their parts.

Some scripts are written without blanks. There, a run of letters is one word for both patterns, unless the letters are
cut one by one: `by_character` makes the pattern that does so.
"""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from tokenizers import Regex, pre_tokenizers

from pipeline.data.text_stats import script

LETTER, APOSTROPHE = r"[\p{L}\p{N}_]", "['’]"
CLITIC = rf"(?i:n{APOSTROPHE}t|{APOSTROPHE}(?:s|m|d|ll|re|ve))(?!{LETTER})"
ANY_NUMBER = "*"
# Megabytes without a blank are cut into pieces: the regex engine gives up on longer matches.
UP_TO_200 = "{0,200}"

# A straight quotation mark stands for gershayim (״) in Hebrew, before the last letter of an acronym and its suffix:
# `צה"ל`, `מנכ"לית`. It opens a quotation after nothing but particles (the letters of משה וכלב), as in `ב"הארץ"` and
# `ה"ים התיכון"`, unless a single letter follows and no other mark: `ב"כ`.
_HEBREW, _NO_PARTICLE, _POINTS = "[א-ת]", "[א-ת&&[^משהוכלב]]", r"[\p{M}\p{Cf}]"
_SUFFIX = "(?:ים|ות|יות|ית|ניק|ניקים|י|ו|ה)"
_ACRONYM_MARK = (
    rf'"(?<={_HEBREW}"|{_HEBREW}{_POINTS}"|{_HEBREW}{_POINTS}{{2}}")(?:(?={_HEBREW}{_POINTS}*(?!{LETTER}|"))'
    rf'|(?<={_NO_PARTICLE}"|{_NO_PARTICLE}{_HEBREW}"|{_NO_PARTICLE}{_HEBREW}{{2}}")(?={_HEBREW}{_SUFFIX}?(?!{LETTER})))'
)

# Scripts that are written without blanks between words -> their letters, in a class of characters. Their marks belong
# to their letters. The sign that makes a vowel long is common to both kinds of kana.
UNSPACED = {
    "Han": r"\p{Han}",
    "Hiragana": r"\p{Hiragana}\x{30FC}\x{FF70}",
    "Katakana": r"\p{Katakana}\x{30FC}\x{FF70}",
    "Thai": r"\p{Thai}",
    "Lao": r"\p{Lao}",
    "Khmer": r"\p{Khmer}",
    "Myanmar": r"\p{Myanmar}",
}
# Two letters of each, with which a tokenizer shows whether it cuts between them.
SAMPLES = {
    "Han": "一二",
    "Hiragana": "かな",
    "Katakana": "カナ",
    "Thai": "กข",
    "Lao": "ກຂ",
    "Khmer": "កខ",
    "Myanmar": "ကခ",
}
# Those whose letters are syllables or words.
IDEOGRAPHIC = {"Han", "Hiragana", "Katakana"}
FIRST_UNSPACED = "\u0e00"  # no letter of these scripts has a smaller code point
LONGER = 0.02


def _letter(marks: str, most: str, apart: str = "") -> str:
    """A letter or digit at which no clitic begins, with its `marks`: Hebrew points, Arabic vowels, joiners. Those in
    the class `apart` are left out."""
    return rf"{apart and f'(?![{apart}])'}(?!{CLITIC}){LETTER}{marks}{most}"


def _emoji(most: str) -> str:
    return rf"\p{{Extended_Pictographic}}[\p{{M}}\p{{Cf}}\p{{Sk}}\p{{Extended_Pictographic}}]{most}"


# Of a vocabulary: letters with inner apostrophes and gershayim. Anything else that is not a blank is a token,
# repetitions of it together (`!!!`).
_MARKS = r"[\p{M}\p{Cf}]"
_LETTERS = rf"{_letter(_MARKS, UP_TO_200)}(?:{_letter(_MARKS, UP_TO_200)}){UP_TO_200}"
_WORD = rf"{_LETTERS}(?:(?:(?!{CLITIC})['’״׳]|{_ACRONYM_MARK}){_LETTERS}){UP_TO_200}"
VOCABULARY = Regex(rf"{CLITIC}|{_WORD}|{_emoji(UP_TO_200)}|([^\s\p{{L}}\p{{N}}])\1{UP_TO_200}")

# Of tagged text.
# U.S., e.g., J.R.R.
_INITIALS = r"(?:\p{L}\.){2,}"
# Within a word: hyphens, apostrophes, gershayim, slashes; points and commas within numbers; the points of web names.
_INNER = rf"[-'’״׳/&@]|{_ACRONYM_MARK}|(?<=\p{{N}})[.,:](?=\p{{N}})|\.(?=\p{{Ll}})"
# Soft hyphens and joiners belong to their letters; marks of direction (the rest of Cf) do not.
_TAGGED_MARKS = r"[\p{M}\x{00AD}\x{200C}\x{200D}]"


def _tagged(apart: str = "") -> str:
    """Words of tagged text up to a letter of the class `apart`."""
    url = rf"(?:https?://|www\.)[^\s<>\"{apart}]*[^\s<>\"\p{{P}}{apart}]/?"
    step = _letter(_TAGGED_MARKS, ANY_NUMBER, apart)
    word = rf"[@#]?(?:{step})+(?:(?!{CLITIC})(?:{_INNER})(?:{step})+)*"
    return rf"{url}|{_INITIALS}|{CLITIC}|{word}|{_emoji(ANY_NUMBER)}"


_TAGGED = rf"{_tagged()}|([^\s\p{{L}}\p{{N}}\p{{C}}])\1*"
TAGGED = Regex(_TAGGED)
# The same in a text with blanks; without any, it is a word that was cut already, as in a list of words.
TAGGED_OR_WHOLE = Regex(rf"\A\S+\z|{_TAGGED}")
# Every letter, digit and punctuation mark is a word.
_CHARACTERS = rf"{LETTER}{_TAGGED_MARKS}*|{_emoji(ANY_NUMBER)}|[^\s\p{{L}}\p{{N}}\p{{C}}]"
CHARACTERS = Regex(_CHARACTERS)


@functools.cache
def by_character(scripts: frozenset[str]) -> Regex:
    """Like `TAGGED`, but each letter of `scripts` is a word. So is each mark outside ASCII, where such scripts have
    their punctuation."""
    return Regex(pattern(scripts))


def pattern(scripts: frozenset[str] = frozenset(), characters: bool = False) -> str:
    """The pattern of the words of tagged text, in the syntax of `tokenizers.Regex`; see `cut`."""
    if characters:
        return _CHARACTERS
    if not scripts:
        return _TAGGED
    apart = "".join(UNSPACED[name] for name in sorted(scripts))
    ascii_mark = r"([!-~&&[^\p{L}\p{N}]])\1*"
    return rf"[{apart}]{_TAGGED_MARKS}*|{_tagged(apart)}|{ascii_mark}|[^\s\p{{L}}\p{{N}}\p{{C}}]"


def isolated(scripts: Iterable[str]) -> pre_tokenizers.PreTokenizer:
    """A pre-tokenizer that makes each letter of `scripts`, with its marks, a piece, and leaves the rest as it is."""
    apart = "".join(UNSPACED[name] for name in sorted(scripts))
    return pre_tokenizers.Split(Regex(rf"[{apart}]{_TAGGED_MARKS}*"), "isolated")


def splitter(words: Regex) -> pre_tokenizers.PreTokenizer:
    """A pre-tokenizer that keeps what matches `words` and drops the rest: blanks and, if tagged, control characters."""
    return pre_tokenizers.Split(words, "removed", invert=True)


@functools.cache
def _splitter(scripts: frozenset[str]) -> pre_tokenizers.PreTokenizer:
    return splitter(by_character(scripts) if scripts else TAGGED)


_CHARACTER_SPLITTER = splitter(CHARACTERS)


def cut(text: str, scripts: frozenset[str] = frozenset(), characters: bool = False) -> list[tuple[int, int]]:
    """Start and end, in characters, of each word and each run of a mark, without blanks and control characters.

    Words are those of `TAGGED`, so text to be tagged is split like the data that the model learned from.

    Args:
        scripts: of `UNSPACED`; in a text that has their letters, each of these is a word.
        characters: whether each letter of any script is one.
    """
    if characters:
        return [place for _, place in _CHARACTER_SPLITTER.pre_tokenize_str(text)]
    applies = scripts and text and max(text) >= FIRST_UNSPACED and any(script(c) in scripts for c in set(text))
    return [place for _, place in _splitter(scripts if applies else frozenset()).pre_tokenize_str(text)]


class Spelling(NamedTuple):
    """Whether words of tagged data are single characters.

    Attributes:
        scripts: the scripts without blanks whose letters are words of their own, as in most Chinese data.
        characters: whether all other letters and digits are, too.
    """

    scripts: frozenset[str] = frozenset()
    characters: bool = False


def spelling(words: Iterable[str]) -> Spelling:
    """How `words`, a sample of tagged data, are written. A few longer words (`LONGER`) are taken for mistakes."""
    counts: Counter[tuple[str, bool]] = Counter()
    for word in words:
        kind = _kind(word)
        if kind:
            counts[kind, _letters(word) > 1] += 1
    share = {name: counts[name, True] / max(counts[name, True] + counts[name, False], 1) for name in UNSPACED}
    scripts = frozenset(name for name in UNSPACED if counts[name, False] and share[name] <= LONGER)
    return Spelling(scripts, bool(scripts and counts["other", False] and not counts["other", True]))


def _kind(word: str) -> str | None:
    """The script of the first letter of `word` if it is written without blanks, "other" for any other letter or digit;
    None if there is neither."""
    first = next((character for character in word if character.isalnum()), None)
    if first is None:
        return None
    name = script(first)
    return name if name in UNSPACED else "other"


def _letters(word: str) -> int:
    """Characters of `word` without its marks."""
    return sum(not unicodedata.category(character).startswith("M") for character in unicodedata.normalize("NFC", word))
