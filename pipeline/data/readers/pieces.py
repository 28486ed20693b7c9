"""The text of a file in pieces of any length, for formats in which a line may be as long as the file."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from pipeline.config.archives import open_binary
from pipeline.config.data import Data
from pipeline.data.readers import charset
from pipeline.data.readers.common import CHUNK_BYTES, UTF8, encoding_of
from pipeline.errors import UserError


def pieces(file: Path, data: Data) -> Iterator[str]:
    """The text of `file`, about `CHUNK_BYTES` at a time, without byte order mark.

    Raises:
        UserError: a byte has no meaning in the encoding of the file, or is NUL; the message has its place.
        OSError: the file cannot be read.
    """
    encoding = encoding_of(file, data)
    decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == UTF8 else encoding)()
    position = 0
    with open_binary(file) as stream:
        while True:
            piece = stream.read(CHUNK_BYTES)
            if encoding == UTF8 and b"\0" in piece:
                raise UserError(charset.explain_nul(file, position + piece.index(b"\0"), piece))
            position += len(piece)
            try:
                text = decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                place = position - len(error.object) + error.start
                named = None if encoding == UTF8 else encoding
                raise UserError(charset.explain(file, place, error.object[error.start], named)) from error
            if text:
                yield text
            if not piece:
                return
