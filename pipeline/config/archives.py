"""Compressed files (gzip, bzip2, xz, Zstandard), read as if they were not compressed."""

from __future__ import annotations

import io
import lzma
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from pipeline.errors import UserError, reason

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# What a compressed file begins with, and the name of the compression. Suffixes are not asked: they may be wrong.
COMPRESSIONS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
}
# Follows the level of compression in a bzip2 file. Without it, a text could begin with the same three letters.
BZIP2_BLOCKS = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")
BUFFER_BYTES = 1 << 16


def open_binary(file: Path) -> BinaryIO:
    """The bytes of a file, unpacked if it is compressed. The beginning of the file tells, not its suffix.

    Reading a damaged archive raises UserError.

    Raises:
        OSError: the file cannot be read.
    """
    with file.open("rb") as stream:
        compression = compression_of(stream.read(16))
    if compression is None:
        return file.open("rb")
    return cast(BinaryIO, io.BufferedReader(_Unpacked(file, compression), BUFFER_BYTES))


def compression_of(start: bytes) -> str | None:
    """The name of the compression of a file that begins with `start`, of at least 10 bytes."""
    found = next((name for signature, name in COMPRESSIONS.items() if start.startswith(signature)), None)
    return None if found == "bzip2" and not start[4:].startswith(BZIP2_BLOCKS) else found


class _Unpacked(io.RawIOBase):
    """The bytes in a compressed file; errors name the file."""

    def __init__(self, file: Path, compression: str):
        self.file, self.compression = file, compression
        self.stream = _opened(file, compression)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        try:
            piece = self.stream.read(len(view))
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            raise UserError(
                f"{self.file}: the {self.compression} archive is damaged or incomplete ({reason(error)}); copy or"
                " download it again"
            ) from error
        view[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self.stream.close()
        super().close()


def _opened(file: Path, compression: str) -> BinaryIO:
    if compression == "Zstandard":
        import pyarrow as pa  # takes a while to import, and few files need it

        return cast(BinaryIO, pa.CompressedInputStream(pa.OSFile(str(file)), "zstd"))
    import bz2
    import gzip

    modules = {"gzip": gzip, "bzip2": bz2, "xz": lzma}
    return cast(BinaryIO, modules[compression].open(file, "rb"))
