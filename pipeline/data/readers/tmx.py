"""Translation memories (.tmx): a translation unit is a row, with a column for each language.

The file is read as a stream, so memory does not grow with it. A document type declaration is allowed, as most files
name that of TMX, but nothing outside the file is ever read, and a file that declares entities of its own is refused:
a few of them can stand for gigabytes of text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from pipeline.config.data import Data
from pipeline.data.readers.common import CHUNK_BYTES, NumberedRow, open_binary
from pipeline.errors import UserError

# Elements in a segment whose content is markup of the original document, not text (TMX 1.4b, section 2.3.2).
MARKUP = {"bpt", "ept", "it", "ph", "ut"}


def read(file: Path, data: Data, warnings: list[str]) -> Iterator[NumberedRow]:
    """The text of each unit by language, in lower case as in `en-us`; None where a unit lacks a language that was seen
    before.

    Raises:
        UserError: it is not XML, or declares entities.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    units = _Units(file, parser)
    with open_binary(file) as stream:
        is_over = False
        while not is_over:
            piece = stream.read(CHUNK_BYTES)
            is_over = not piece
            try:
                parser.Parse(piece, is_over)
            except expat.ExpatError as error:
                raise UserError(f"{file}:{error.lineno}: not XML: {expat.ErrorString(error.code)}") from error
            yield from units.take()
    if not units.languages:
        raise UserError(f"{file}: it has no translation unit (<tu>) with a language; is it a TMX file?")


class _Units:
    """Collects the units that `parser` has read."""

    def __init__(self, file: Path, parser: expat.XMLParserType):
        self.file, self.parser = file, parser
        self.languages: dict[str, None] = {}
        self._done: list[NumberedRow] = []
        self._line, self._texts = 0, dict[str, str]()
        self._language: str | None = None
        self._segment: list[str] | None = None  # the text of the segment so far
        self._markup = 0  # how many elements of markup are open
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler, parser.EntityDeclHandler = self._text, self._refuse

    def take(self) -> Iterator[NumberedRow]:
        """The units since the last call."""
        done, self._done = self._done, []
        for line, texts in done:
            yield line, {language: texts.get(language) for language in self.languages}

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "tu":
            self._line, self._texts = self.parser.CurrentLineNumber, {}
        elif name == "tuv":
            self._language = (attributes.get("xml:lang") or attributes.get("lang") or "").lower() or None
        elif name == "seg":
            self._segment, self._markup = [], 0
        elif name in MARKUP:
            self._markup += 1

    def _end(self, name: str) -> None:
        if name in MARKUP:
            self._markup = max(0, self._markup - 1)
        elif name == "seg" and self._segment is not None and self._language:
            self._texts[self._language] = " ".join("".join(self._segment).split())
            self.languages.setdefault(self._language)
            self._segment = None
        elif name == "tu":
            self._done.append((self._line, self._texts))

    def _text(self, text: str) -> None:
        if self._segment is not None and not self._markup:
            self._segment.append(text)

    def _refuse(self, name: str, *_: object) -> None:
        raise UserError(
            f"{self.file}:{self.parser.CurrentLineNumber}: it declares the entity {name}; write out its text"
        )
