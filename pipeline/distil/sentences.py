"""Cuts running text and long documents into sentences, by a rule that needs no model and no list of a language's own.

The rule is that of Unicode (UAX 29, section 5, rules SB4 to SB11) with the exceptions that matter for prose:

- A line break ends a sentence, and so does `<br>`.
- The full stops, exclamation and question marks of other scripts end one (`。`, `؟`, `۔`, `।`, `׃`), whatever follows.
- `.`, `!`, `?` and `…` end one only before white space, and not before a lower-case letter if the text has capitals.
- A full stop after a single letter or a title (J. R. R., U.S., Dr.) ends none.
- Quotation marks and brackets that close directly behind the mark belong to its sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SHORTEST, LONGEST = 3, 50
"""Fewest and most words of a sentence that is kept. A fragment says little to a teacher, and what is longer than 50
words is most often a list, or text without punctuation."""

_BREAK = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+|<br\s*/?>", re.IGNORECASE)
# Property Sentence_Terminal of Unicode for living scripts: of Armenian, Hebrew, Arabic, Syriac, Indic scripts, Myanmar,
# Ethiopic, Khmer, Mongolian and Tibetan; the double marks; those of Chinese and Japanese, also at half and full width.
_MARKS = (
    "\u0589\u05c3\u061d-\u061f\u06d4\u0700-\u0702\u0964\u0965\u104a\u104b\u1362\u1367\u1368\u17d4\u17d5"
    "\u1803\u1809\u0f0d\u0f0e\u203c\u203d\u2047-\u2049\u3002\uff01\uff0e\uff1f\uff61"
)
_ASCII = ".!?…"
_CLOSING = "\"'”’»›)\\]}）］｝】」』〉》〕״"
# Not from the middle of a run of marks, which would take quadratic time.
_END = re.compile(rf"(?<![{_ASCII}])[{_ASCII}]+[{_CLOSING}]*(?=\s|$)|[{_MARKS}][{_MARKS}{_ASCII}]*[{_CLOSING}]*")
_BEHIND = re.compile(r"\s+(\S)")
_TITLES = "Mr|Mrs|Ms|Dr|Prof|St|Rev|Gen|Col|Capt|Lt|Sgt|Gov|Sen|Hon|Mt|Messrs|Mme|Mlle|No|Vol|Fig|vs"
_NO_END = re.compile(rf"(?<![^\W\d_])(?:[^\W\d_]|{_TITLES})\.\Z", re.IGNORECASE)
# The longest of _TITLES, the letter before it and the full stop.
_LOOK_BEHIND = 10
# Letters of scripts without blanks, and how many of them count as a word.
_IDEOGRAPHS = re.compile(
    "[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U000323af]{1,2}"
)
_SYLLABLES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]{1,5}")
_FIRST_UNSPACED = "\u0e00"


def cut(text: str) -> Iterator[str]:
    """The sentences of `text` in order, without blanks around them; see above."""
    has_capitals = text != text.lower()
    for line in _BREAK.split(text):
        start = 0
        for end in _END.finditer(line):
            if _ends(line, end, has_capitals):
                yield from _stripped(line[start : end.end()])
                start = end.end()
        yield from _stripped(line[start:])


def words(text: str) -> int:
    """How many words `text` has: pieces between blanks; in scripts without blanks, two characters of Chinese or
    Japanese count as one, and five of Thai, Lao, Khmer or Burmese."""
    if text and max(text) >= _FIRST_UNSPACED:
        text = _SYLLABLES.sub(" a ", _IDEOGRAPHS.sub(" a ", text))
    return len(text.split())


def _ends(line: str, end: re.Match[str], has_capitals: bool) -> bool:
    """Whether a sentence ends at the mark that was found."""
    mark = end[0][0]
    if mark not in _ASCII:
        return True
    behind = _BEHIND.match(line, end.end()) if has_capitals else None
    if behind is not None and behind[1].islower():
        return False
    stop = end.start() + 1
    return mark != "." or not _NO_END.search(line[max(0, stop - _LOOK_BEHIND) : stop])


def _stripped(sentence: str) -> Iterator[str]:
    if stripped := sentence.strip():
        yield stripped
