"""Text files: encodings, compression and line ends; every line is whole, and what is no text is refused."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma

import pyarrow as pa
import pytest
from small_files import read  # noqa: F401 (a fixture)

from pipeline.config.archives import open_binary
from pipeline.config.data import Data
from pipeline.data.readers import common
from pipeline.data.readers.common import check_signature, lines, text_of
from pipeline.errors import UserError

TEXT = "text,label\nשלום 👍🏽,1\ncafé,0\n"
ROWS = [("שלום 👍🏽", "1"), ("café", "0")]


def zstandard(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


COMPRESSIONS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard}


@pytest.mark.parametrize("suffix", [*COMPRESSIONS, ""])
def test_a_compressed_file_is_read_whatever_its_suffix_says(read, suffix):
    for compress in COMPRESSIONS.values():
        assert read(f"a.csv{suffix}", compress(TEXT.encode())).values == ROWS
        assert read(f"a.txt{suffix}", compress(TEXT.encode())).values == [(line,) for line in TEXT.splitlines()]


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_a_compressed_file_may_have_several_parts_and_be_large(tmp_path, suffix):
    file = tmp_path / f"a.txt{suffix}"
    content = "".join(f"line {number * 7919}\n" for number in range(50_000)).encode()
    file.write_bytes(COMPRESSIONS[suffix](content) + COMPRESSIONS[suffix](b"the end"))
    with open_binary(file) as stream:
        assert stream.read(7) == content[:7]
        assert stream.read() == content[7:] + b"the end"


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize("kept", [20, -3])
def test_a_damaged_archive_is_refused_in_one_line(read, suffix, kept):
    content = COMPRESSIONS[suffix]("".join(f"{n * 7919}\n" for n in range(20_000)).encode())
    with pytest.raises(UserError, match=r"a\.txt: the \w+ archive is damaged or incomplete .*download it again"):
        read("a.txt", content[:kept])


def test_a_text_that_begins_like_an_archive_is_a_text(read):
    assert read("a.txt", "BZhello\n").values == [("BZhello",)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(read, encoding):
    found = read("a.csv", TEXT.encode(encoding))
    assert (found.names, found.values) == (["text", "label"], ROWS)
    assert found.warnings == ([] if encoding == "utf-8-sig" else [f"a.csv: its encoding is {encoding}"])
    assert read("a.csv", codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be")).values == ROWS


@pytest.mark.parametrize("encoding", ["latin-1", "cp1255", "gb18030", "utf-16-le", "UTF-8", "shift_jis"])
def test_an_encoding_that_is_set_is_used(read, monkeypatch, encoding):
    text = {"latin-1": "café £5", "cp1255": "שלום", "gb18030": "很好", "shift_jis": "映画"}.get(encoding, "café 很好")
    content = f"text,label\n{text},1\r\n{text},0\n".encode(encoding)
    for size in (1, 3, 1 << 20):
        monkeypatch.setattr(common, "CHUNK_BYTES", size)
        found = read("a.csv", content, encoding=encoding)
        assert (found.rows, found.warnings) == ([(2, (text, "1")), (3, (text, "0"))], [])


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ("text,label\nfine,1\nthe café,1\n".encode("latin-1"), {}, ":3: not UTF-8 at byte 25 (0xe9); it may be cp1252"),
        ("text,label\nתודה רבה לך,1\n".encode()[:-13], {}, ":2: not UTF-8 at byte "),
        ("text,label\nОтличный фильм о любви,1\n".encode("cp1251"), {}, "set data.encoding to cp1251"),
        ("text,label\n这部电影非常好看我很喜欢,1\n".encode("gb18030"), {}, "set data.encoding to gb18030"),
        ("text,label\nthe café,1\n".encode(), {"encoding": "ascii"}, ":2: not ascii at byte 18 (0xc3)"),
        (TEXT.encode(), {"encoding": "klingon"}, "data.encoding: 'klingon' is not an encoding that Python knows"),
        (TEXT.encode(), {"encoding": "hex"}, "data.encoding: 'hex' is not an encoding that Python knows"),
        (TEXT.encode("utf-16-le"), {}, "it may be UTF-16: set data.encoding to utf-16-le"),
        (b"text,label\na\0b,1\n", {}, "a.csv: a NUL at byte 12; the file is not text"),
    ],
)
def test_bytes_that_are_no_text_are_refused_with_their_place_and_a_guess(read, content, settings, message):
    with pytest.raises(UserError) as refusal:
        read("a.csv", content, **settings)
    assert message in str(refusal.value)


def test_a_broken_byte_in_a_file_of_utf8_is_not_taken_for_another_encoding(read):
    good = "café olé\n".encode()
    for content in (good * 3 + b"caf\xe9\n", b"caf\xe9\n" + good * 3):
        with pytest.raises(UserError, match=r"other lines of the file are, so this one is damaged"):
            read("a.txt", content)


def test_a_wrong_byte_far_down_a_file_is_found_in_its_line(read, monkeypatch):
    monkeypatch.setattr(common, "CHUNK_BYTES", 100)
    content = b"a line\n" * 1000 + "Schöne Grüße\n".encode("latin-1")
    with pytest.raises(UserError, match=r"a\.txt:1001: not UTF-8 at byte 7003 \(0xf6\); it may be cp1252 \('Schöne"):
        read("a.txt", content)


@pytest.mark.parametrize("size", [*range(1, 12), 1 << 20])
def test_lines_are_whole_wherever_a_piece_ends(tmp_path, monkeypatch, size):
    monkeypatch.setattr(common, "CHUNK_BYTES", size)
    text = "\ufeffone\r\n\r\rtwo\u2028\x85\x0b\n\nschön\r\n\nlast"
    (tmp_path / "a.txt").write_bytes(text.encode())
    expected = io.StringIO(text[1:], newline="").readlines()
    assert list(lines(tmp_path / "a.txt")) == list(enumerate(expected, start=1))
    assert text_of(tmp_path / "a.txt") == text[1:]


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
def test_every_line_of_a_plain_text_is_a_row(read, monkeypatch, size):
    monkeypatch.setattr(common, "CHUNK_BYTES", size)
    found = read("a.txt", 'one\n\n  "two", \r\nthree\rfour\u2028five\n \nlast')
    texts = ["one", "", '  "two", ', "three", "four\u2028five", " ", "last"]
    assert found.rows == [(line, (text,)) for line, text in enumerate(texts, start=1)]
    assert read("a.txt", "one\n\n").values == [("one",), ("",)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"PK\x03\x04...", "a zip archive (or an Office document); unpack it"),
        (b"PAR1....", "a parquet file; set data.format to parquet"),
        (gzip.compress(b"a.csv".ljust(257, b"\0") + b"ustar\x0000", mtime=0), "a tar archive; unpack it"),
        (gzip.compress(b"", mtime=0), "the file is empty"),
    ],
)
def test_files_of_other_kinds_are_recognised_by_their_content(tmp_path, content, message):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError) as refusal:
        check_signature(tmp_path / "a.csv", "csv")
    assert message in str(refusal.value)


def test_settings_that_say_nothing_about_the_encoding_leave_it_to_the_file(tmp_path):
    (tmp_path / "a.txt").write_bytes(TEXT.encode("utf-16"))
    assert text_of(tmp_path / "a.txt", Data(source="a")) == text_of(tmp_path / "a.txt") == TEXT


def test_an_encoding_that_would_garble_utf_8_is_refused(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("déjà vu\n" * 20, encoding="utf-8")
    with pytest.raises(
        UserError, match=r"it is UTF-8, which data.encoding iso8859-1 would garble; remove this setting"
    ):
        text_of(file, Data(str(file), encoding="latin-1"))
    file.write_bytes("déjà vu\n".encode("latin-1") * 20)
    assert text_of(file, Data(str(file), encoding="latin-1")) == "déjà vu\n" * 20
    file.write_bytes("联通\n".encode("gb18030"))  # which is well-formed UTF-8 by chance
    assert text_of(file, Data(str(file), encoding="gb18030")) == "联通\n"


def test_utf_16_without_a_mark_is_refused_with_the_setting_that_reads_it(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes("a fine day\n".encode("utf-16-le"))
    with pytest.raises(
        UserError, match=r"no byte order mark, so it may not be utf-16; remove data.encoding, or set it"
    ):
        text_of(file, Data(str(file), encoding="utf-16"))
    assert text_of(file, Data(str(file), encoding="utf-16-le")) == "a fine day\n"
