"""Running text to words, as data with a tag per word has them: more is left whole than in a vocabulary of words."""

from __future__ import annotations

from tokenizers import Regex, pre_tokenizers

# Points, vowels and joiners belong to their letters; marks of direction do not.
LETTER, MARK, APOSTROPHE = r"[\p{L}\p{N}_]", r"[\p{M}\x{00AD}\x{200C}\x{200D}]", "['’]"
URL = r"(?:https?://|www\.)[^\s<>\"]*[^\s<>\"\p{P}]/?"
# U.S., e.g., J.R.R.
INITIALS = r"(?:\p{L}\.){2,}"
# As in the Penn Treebank: do n't, it 's.
CLITIC = rf"(?i:n{APOSTROPHE}t|{APOSTROPHE}(?:s|m|d|ll|re|ve))(?!{LETTER})"
# Within a word: hyphens, apostrophes, gershayim, slashes; points and commas within numbers; the points of web names.
INNER = r"[-'’״׳/&@]|(?<=\p{N})[.,:](?=\p{N})|\.(?=\p{Ll})"
STEP = rf"(?!{CLITIC}){LETTER}{MARK}*"
WORD = rf"[@#]?(?:{STEP})+(?:(?!{CLITIC})(?:{INNER})(?:{STEP})+)*"
EMOJI = r"\p{Extended_Pictographic}[\p{M}\p{Cf}\p{Sk}\p{Extended_Pictographic}]*"
WORDS = Regex(rf"{URL}|{INITIALS}|{CLITIC}|{WORD}|{EMOJI}|([^\s\p{{L}}\p{{N}}\p{{C}}])\1*")
_CUTTER = pre_tokenizers.Split(WORDS, "removed", invert=True)


def cut(text: str) -> list[tuple[int, int]]:
    """Start and end, in characters, of each word and each run of a mark; blanks and controls are left out."""
    return [place for _, place in _CUTTER.pre_tokenize_str(text)]
