"""What a word is, as regular expressions: for vocabularies of words, and for text that is tagged word by word.

Both split off English clitics, as the Penn Treebank and published word vectors do (do n't, it 's), keep the marks of a
letter with it, and treat an emoji with its modifiers as one word. They differ in what else they keep whole: in tagged
data, `well-made`, `10:30` and a URL are one word each, while a vocabulary is better off with their parts.
"""

from __future__ import annotations

from tokenizers import Regex, pre_tokenizers

LETTER, APOSTROPHE = r"[\p{L}\p{N}_]", "['’]"
CLITIC = rf"(?i:n{APOSTROPHE}t|{APOSTROPHE}(?:s|m|d|ll|re|ve))(?!{LETTER})"
ANY_NUMBER = "*"
# Megabytes without a blank are cut into pieces: the regex engine gives up on longer matches.
UP_TO_200 = "{0,200}"


def _letter(marks: str, most: str) -> str:
    """A letter or digit at which no clitic begins, with its `marks`: Hebrew points, Arabic vowels, joiners."""
    return rf"(?!{CLITIC}){LETTER}{marks}{most}"


def _emoji(most: str) -> str:
    return rf"\p{{Extended_Pictographic}}[\p{{M}}\p{{Cf}}\p{{Sk}}\p{{Extended_Pictographic}}]{most}"


# Of a vocabulary: letters with inner apostrophes and gershayim. Anything else that is not a blank is a token,
# repetitions of it together (`!!!`).
_MARKS = r"[\p{M}\p{Cf}]"
_LETTERS = rf"{_letter(_MARKS, UP_TO_200)}(?:{_letter(_MARKS, UP_TO_200)}){UP_TO_200}"
_WORD = rf"{_LETTERS}(?:(?!{CLITIC})['’״׳]{_LETTERS}){UP_TO_200}"
VOCABULARY = Regex(rf"{CLITIC}|{_WORD}|{_emoji(UP_TO_200)}|([^\s\p{{L}}\p{{N}}])\1{UP_TO_200}")

# Of tagged text.
_URL = r"(?:https?://|www\.)[^\s<>\"]*[^\s<>\"\p{P}]/?"
# U.S., e.g., J.R.R.
_INITIALS = r"(?:\p{L}\.){2,}"
# Within a word: hyphens, apostrophes, gershayim, slashes; points and commas within numbers; the points of web names.
_INNER = r"[-'’״׳/&@]|(?<=\p{N})[.,:](?=\p{N})|\.(?=\p{Ll})"
# Soft hyphens and joiners belong to their letters; marks of direction (the rest of Cf) do not.
_STEP = _letter(r"[\p{M}\x{00AD}\x{200C}\x{200D}]", ANY_NUMBER)
_TAGGED_WORD = rf"[@#]?(?:{_STEP})+(?:(?!{CLITIC})(?:{_INNER})(?:{_STEP})+)*"
TAGGED = Regex(
    rf"{_URL}|{_INITIALS}|{CLITIC}|{_TAGGED_WORD}|{_emoji(ANY_NUMBER)}|([^\s\p{{L}}\p{{N}}\p{{C}}])\1*",
)


def splitter(words: Regex) -> pre_tokenizers.PreTokenizer:
    """A pre-tokenizer that keeps what matches `words` and drops the rest: blanks and, if tagged, control characters."""
    return pre_tokenizers.Split(words, "removed", invert=True)


_TAGGED_SPLITTER = splitter(TAGGED)


def cut(text: str) -> list[tuple[int, int]]:
    """Start and end, in characters, of each word and each run of a mark, without blanks and control characters.

    Words are those of `TAGGED`, so text to be tagged is split like the data that the model learned from.
    """
    return [place for _, place in _TAGGED_SPLITTER.pre_tokenize_str(text)]
