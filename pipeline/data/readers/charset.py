"""Error messages for bytes that are invalid in the expected encoding, with the encoding that they may have instead."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.config.archives import open_binary
from pipeline.errors import UserError

# Encodings that files of text still have. The others that Python knows only make guesses worse.
LIKELY = [
    *("cp1252", "cp1250", "cp1251", "koi8_r", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr", "cp1253", "cp1254"),
    *("cp1255", "cp1256", "cp874", "iso8859_2", "mac_roman", "cp437", "cp850"),
]
# Found in ten times as many files as any other; if it fits as well as the best guess, it is the better one.
USUAL = "cp1252"
TOLERANCE = 0.1
GUESS_BYTES, READ_BYTES = 1 << 16, 1 << 24
SHOWN = 30
# This many letters beyond ASCII are not well-formed UTF-8 by chance.
SURE = 20


def check(encoding: str) -> None:
    """Refuse a data.encoding that Python does not know.

    Raises:
        UserError: it is not the name of an encoding of texts.
    """
    try:
        "".encode(encoding)
    except LookupError as error:
        raise UserError(
            f"data.encoding: {encoding!r} is not an encoding that Python knows; such as utf-8, latin-1 or gb18030"
        ) from error


def check_utf8(file: Path, piece: bytes, position: int) -> None:
    """Refuse `piece`, which begins at byte `position` of `file`, if it is not UTF-8.

    Raises:
        UserError: as above; the message has the place, and the encoding that the file may have.
    """
    if piece.isascii():
        return
    try:
        piece.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(explain(file, position + error.start, piece[error.start])) from error


def is_surely_utf8(piece: bytes) -> bool:
    """Whether the beginning of a file is UTF-8 and nothing else."""
    piece = piece[:GUESS_BYTES]
    for cut in range(4):  # the last character may not be whole
        try:
            text = piece[: len(piece) - cut].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return sum(character > "\x7f" for character in text) >= SURE
    return False


def explain(file: Path, position: int, byte: int, encoding: str | None = None) -> str:
    """The message for a `byte` that has no meaning in `encoding` (None: UTF-8, unless another one is set)."""
    line, is_utf8, rare = _look_at(file, position)
    name, example = guess(b"\n".join(rare)[: 2 * GUESS_BYTES])
    remedy = "set data.encoding to the encoding of the file, or convert it to UTF-8"
    if encoding is None and is_utf8:
        remedy = "other lines of the file are, so this one is damaged: write it anew, or remove it"
    elif name and name != encoding:
        remedy = f"it may be {name} ({example!r}): set data.encoding to {name}, or convert the file to UTF-8"
    return f"{file}:{line}: not {encoding or 'UTF-8'} at byte {position} (0x{byte:02x}); {remedy}"


def explain_nul(file: Path, position: int, piece: bytes) -> str:
    """The message for a NUL at byte `position`, in `piece`."""
    even, odd = piece[::2].count(0), piece[1::2].count(0)
    if max(even, odd) > len(piece) / 8:
        name = "utf-16-le" if odd > even else "utf-16-be"
        return f"{file}: a NUL at byte {position}; it may be UTF-16: set data.encoding to {name}"
    return f"{file}: a NUL at byte {position}; the file is not text"


def _look_at(file: Path, position: int) -> tuple[int, bool, list[bytes]]:
    """The line of byte `position`, whether lines with other characters than ASCII are UTF-8, and some of them."""
    with open_binary(file) as stream:
        line, left, last, is_ascii = 1, position, b"", True
        while left and (piece := stream.read(min(left, 1 << 20))):
            line += piece.count(b"\n")
            is_ascii = is_ascii and piece.isascii()
            left -= len(piece)
            last = piece
        after = stream.read(READ_BYTES)
    start = last[last.rfind(b"\n") + 1 :]
    rare, size = [], 0
    for found in (start + after).splitlines():
        if not found.isascii():
            rare.append(found)
            size += len(found)
        if size > GUESS_BYTES:
            break
    return line, not is_ascii or sum(map(_is_utf8, rare)) * 2 > len(rare), rare


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def guess(content: bytes) -> tuple[str | None, str]:
    """The encoding that `content` probably has, or None, and its first words that are not ASCII."""
    import charset_normalizer  # only files that are not UTF-8 need it

    matches = list(charset_normalizer.from_bytes(content, cp_isolation=LIKELY))
    if not matches:
        return None, ""
    best = matches[0]
    as_good = [m for m in matches if m.chaos <= best.chaos and m.coherence >= best.coherence - TOLERANCE]
    name = USUAL if any(USUAL in match.could_be_from_charset for match in as_good) else best.encoding
    text = content.decode(name, errors="replace")
    words = re.findall(r"[^\s,;\"|]*[^\x00-\x7f][^\s,;\"|]*", text)
    return name, " ".join(words[:3])[:SHOWN]
