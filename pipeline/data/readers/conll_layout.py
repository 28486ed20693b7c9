"""How a CoNLL file is written: what is between its columns, and which of them hold the words and the tags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.config.tag_forms import Form

DOCUMENT = re.compile(r"[-_<\[]{1,3}DOCSTART[-_>\]]{0,3}", re.IGNORECASE)
KEY_AND_VALUE = re.compile(r"#+\s*[\w.:-]+\s*[=:]\s")
# A pair of a key and a tag, among others in a column such as MISC of CoNLL-U.
PAIR = re.compile(r"(?:^|\|)([^=|]+)=([BIESLUMW]-[^|]+|O)(?=\||$)")

# Brackets around entities and a star for each word, as in the column of names of CoNLL-2012.
OPENING = re.compile(r"\(([A-Z][A-Z_]*)(\*?\)?)")
BRACKETS = re.compile(rf"\*\)?|{OPENING.pattern}")


@dataclass(frozen=True)
class Layout:
    """How a CoNLL file is written.

    Attributes:
        separator: one character, or None for any number of blanks and tabs.
        width: number of columns.
        words: place of the column of words, from 0.
        tags: of the column of tags; None if there is none.
        number: of the column that counts the words of a sentence, if any.
        kinds: what each column holds, for messages.
        names: of the columns, if the file names them.
        has_header: whether the first line that is no comment has the names.
        form: of the tags.
        known: values of the column of tags among the rows that were looked at.
        tag_key: what stands before the tag if the column holds pairs of keys and values, as in name=B-PER|Gender=Fem.
        prefix: what stands before every word, such as en: in the files of WikiAnn.
        is_numbered: whether each word is a letter and its number in a word, as 科0 in Weibo NER.
        brackets: whether tags are brackets around entities, as in (PER* and *) of CoNLL-2012.
        ends_sentences: place of a column that says which word ends a sentence.
        has_entities: whether there is an entity among the rows that were looked at.
    """

    separator: str | None
    width: int
    words: int = 0
    tags: int | None = None
    number: int | None = None
    kinds: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    has_header: bool = False
    form: Form | None = None
    known: frozenset[str] = frozenset()
    tag_key: str | None = None
    prefix: str = ""
    is_numbered: bool = False
    brackets: bool = False
    ends_sentences: int | None = None
    has_entities: bool = False

    def is_comment(self, fields: Sequence[str], line: str) -> bool:
        """Whether a line that begins with # is no word: it has other columns, or no tag in the column of tags."""
        if len(fields) != self.width or KEY_AND_VALUE.match(line):
            return True
        if self.number is not None and not fields[self.number][:1].isdecimal():
            return True
        if self.tags is None or fields[self.tags] in self.known:
            return False
        form = self.form
        return form is None or form.kind == "types" or form.standard(fields[self.tags]) is None

    def is_document(self, fields: Sequence[str]) -> bool:
        """Whether the line is the border of a document in place of a word."""
        candidates = {0, self.words} if len(fields) > self.words else {0}
        return any(DOCUMENT.fullmatch(fields[place]) for place in candidates)

    @property
    def is_usual(self) -> bool:
        """Whether the words are in the first column and the tags in the last one."""
        return self.words == 0 and self.tags in (None, self.width - 1) and not (self.tag_key or self.prefix)

    def tag_of(self, value: str) -> str:
        """The tag in a value of the column of tags."""
        if self.tag_key is None:
            return value
        return dict(PAIR.findall(value)).get(self.tag_key, "O")

    def __str__(self) -> str:
        words = f"words in column {self.words + 1}" + (f" after {self.prefix!r}" if self.prefix else "")
        tags = "no tags" if self.tags is None else f"tags in column {self.tags + 1}"
        tags += f" as {self.tag_key}=" if self.tag_key else ""
        return f"{words}, {tags} (of {self.width}: {', '.join(self.names or self.kinds)})"


def with_tabs(block: bytes, separator: str | None) -> bytes:
    """The same lines with one tab between the columns, and no blanks around them; lines of blanks become empty.

    Args:
        separator: see `Layout`.
    """
    if separator is None:
        block = block.replace(b" ", b"\t")
        if b"\t\t" in block:
            block = re.sub(rb"\t+", b"\t", block)
        return block.replace(b"\t\n", b"\n") if b"\t\n" in block else block
    if separator != "\t":
        block = block.replace(separator.encode(), b"\t")
    if b" \t" in block or b"\t " in block:
        block = re.sub(rb" *\t *", b"\t", block)
    if b" \n" in block or b"\n " in block or block.startswith(b" "):
        block = re.sub(rb"(?m)^ +| +$", b"", block)
    if b"\n\t" in block or block.startswith(b"\t"):
        block = re.sub(rb"(?m)^\t+$", b"", block)
    return block


def with_prefixes(values: Iterable[str]) -> list[str]:
    """(PER*, * and *) as B-PER, I-PER and I-PER; words outside of brackets as O."""
    tags, kind = [], ""
    for value in values:
        opening = OPENING.match(value)
        kind = opening[1] if opening else kind
        tags.append(f"B-{kind}" if opening else f"I-{kind}" if kind else "O")
        kind = "" if value.endswith(")") else kind
    return tags
