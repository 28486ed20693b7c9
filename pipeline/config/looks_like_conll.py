"""Recognises CoNLL files by their content: a word on each line, in columns, and one of the columns holds tags."""

from __future__ import annotations

import re
from collections import Counter

from pipeline.config.tag_forms import form_of

LINES = 2000
# Share of the lines that have the same number of columns, and of the words whose tag is one: a file with a few
# mistakes is still a CoNLL file, whose reader names the line of the first mistake.
MOST = 0.9
# Share of O among tags that are only types; nothing else distinguishes them from other words.
LEAST_OUTSIDE = 0.1
# What a column has at the last word of a sentence in the files of HIPE.
SENTENCE_END = "EndOfSentence"
DOCUMENT = re.compile(r"[-<]{1,2}DOCSTART\b.*", re.IGNORECASE)
BORDER = re.compile(rf"\s*|{DOCUMENT.pattern}", re.IGNORECASE)


def looks_like_conll(head: str) -> bool:
    """Whether a file that begins with `head` is a CoNLL file. Its suffix does not count.

    True if nearly all lines have the same number of columns, at least two, separated by tabs, blanks or commas, and one
    column holds tags, O among them: with prefixes or suffixes (B-PER, PER-B), as letters (B, I, O) or as types. There
    need to be blank lines, which separate sentences, unless there are words and tags with prefixes and nothing else: a
    table may have a word and its tag in each row, and the number of the sentence in another column.
    """
    lines = re.split(r"\r\n|\n|\r", head.removeprefix("\ufeff"))[:LINES]
    # The last line may be cut off.
    complete = lines[:-1] if len(lines) > 1 else lines
    borders = [BORDER.fullmatch(line) is not None for line in complete]
    words = [line for line, border in zip(complete, borders, strict=True) if not border and not line.startswith("#")]
    if not words:
        return False
    # Blank lines before the first word or after the last one divide nothing.
    inner = borders[borders.index(False) : len(borders) - borders[::-1].index(False)]
    is_divided = any(inner) or SENTENCE_END in head or any(DOCUMENT.fullmatch(line) for line in complete)
    tabs = sum("\t" in line for line in words) > len(words) / 2
    commas = is_divided and not tabs and all("," in line and " " not in line for line in words)
    rows = [line.split("\t" if tabs else "," if commas else None) for line in words]
    width, common = Counter(map(len, rows)).most_common(1)[0]
    if width < 2 or common < MOST * len(rows):
        return False
    columns = zip(*(row for row in rows if len(row) == width), strict=True)
    counts = [Counter(map(str.strip, column)) for column in columns]
    return (is_divided or width == 2) and any(_are_tags(own, is_divided) for own in counts)


def _are_tags(counts: Counter[str], in_sentences: bool) -> bool:
    """Whether these are tags: nearly all of them have the same form."""
    form = form_of(counts)
    if form is None or any(re.search(r"\s", tag) for tag in counts):
        return False
    total = sum(counts.values())
    outside = sum(counts[tag] for tag in form.outside)
    fitting = sum(count for tag, count in counts.items() if form.standard(tag) is not None)
    if fitting < MOST * total:
        return False
    if outside == total:  # no entity in this part of the file
        return in_sentences and counts.keys() == {"O"}
    if form.kind in ("prefix", "suffix"):
        return outside > 0
    return in_sentences and outside >= LEAST_OUTSIDE * total
