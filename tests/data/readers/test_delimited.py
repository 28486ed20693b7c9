"""Tables as text: rows and lines are those that Python's csv module finds, whoever wrote the file."""

from __future__ import annotations

import csv
import io
import random
import tracemalloc

import pandas as pd
import pytest
from small_files import read  # noqa: F401 (a fixture)

from pipeline.config.data import Data
from pipeline.data.readers import common, delimited, dialect
from pipeline.errors import UserError

WORDS = [
    "good",
    "film",
    '"',
    '""',
    '"x"',
    ",",
    "\n",
    "\r\n",
    "\t",
    ";",
    "|",
    "שלום",
    "\\",
    "it's",
    "\u2028",
    " ",
    "\\n",
]
STYLES = {
    "minimal": {"quoting": csv.QUOTE_MINIMAL},
    "all": {"quoting": csv.QUOTE_ALL},
    "escaped": {"quoting": csv.QUOTE_ALL, "doublequote": False, "escapechar": "\\"},
    "nothing": {"quoting": csv.QUOTE_NONE, "escapechar": "\\"},
}


def by_csv(text: str, **form) -> list[tuple[int, tuple[str, ...]]]:
    """Rows after the header, with the lines that they begin on, by Python's csv module."""
    reader = csv.reader(io.StringIO(text, newline=""), **form)
    begins, rows = 1, []
    for fields in reader:
        if fields:
            rows.append((begins, tuple(fields)))
        begins = reader.line_num + 1
    return rows[1:]


def random_table(seed: int, style: str) -> tuple[str, dict, list[tuple[str, ...]]]:
    """A file, how it is written, and its rows."""
    generator = random.Random(seed)
    separator = generator.choice(",\t;|")
    form = STYLES[style] | {"delimiter": separator}
    words = generator.sample(WORDS, generator.randint(3, len(WORDS)))
    if style in ("escaped", "nothing"):
        # Without an escaped mark or separator, nothing shows that backslashes escape anything; and Python does not
        # escape a CR.
        words = [word for word in words if "\r" not in word] + ['"', separator]
    width = generator.choice([2, 3, 4])
    rows = []
    for number in range(generator.choice([5, 30, 200])):
        text = "".join(generator.choice(words) + generator.choice(["", " "]) for _ in range(generator.randint(1, 8)))
        rows.append((text, generator.choice(["pos", "neg"]), str(number), generator.choice("123"))[:width])
    content = io.StringIO(newline="")
    writer = csv.writer(content, lineterminator=generator.choice(["\n", "\r\n"]), **form)
    writer.writerows([("text", "label", "id", "stars")[:width], *rows])
    return content.getvalue(), form, rows


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_tables_that_python_writes_are_read_as_python_reads_them(read, monkeypatch, style, size):
    monkeypatch.setattr(common, "CHUNK_BYTES", size)
    for seed in range(60):
        text, form, rows = random_table(seed, style)
        found = read("a.tsv" if seed % 2 else "a.csv", text)
        assert found.rows == by_csv(text, **form), seed
        assert found.values == rows, seed


@pytest.mark.parametrize(
    "settings",
    [{}, {"sep": "\t"}, {"sep": ";"}, {"quoting": csv.QUOTE_NONNUMERIC}, {"escapechar": "\\", "doublequote": False}],
)
def test_tables_that_pandas_writes_are_read_as_pandas_has_them(read, settings):
    generator = random.Random(0)
    words = ["good", "bad,", 'a "quoted"', "two\nlines", "שלום", "it's", "tab\t", ";"]
    texts = [" ".join(generator.choices(words, k=6)) for _ in range(300)]
    frame = pd.DataFrame({"text": texts, "label": generator.choices(["pos", "neg"], k=300), "score": range(300)})
    rows = [tuple(map(str, row)) for row in frame.itertuples(index=False)]
    for index in (True, False):  # pandas writes its index by default, without a name
        found = read("a.csv", frame.to_csv(index=index, **settings))
        assert found.values == rows
        assert found.names == ["text", "label", "score"]
        assert [warning for warning in found.warnings if "without a name" in warning] == (
            ["a.csv: column 1 without a name left out"] if index else []
        )


def test_the_line_of_each_row_counts_line_breaks_in_fields_and_blank_lines(read):
    content = 'text,label\n\n"one\n\ntwo",1\r\n\r\n"three",0\rfour,1\n\n\n"fi\r\nve",0'
    assert read("a.csv", content).rows == [
        (3, ("one\n\ntwo", "1")),
        (7, ("three", "0")),
        (8, ("four", "1")),
        (11, ("fi\r\nve", "0")),
    ]


def test_lines_are_right_however_the_file_is_cut(read, monkeypatch):
    content = "".join(f'"row {n}\n, ""{n}""",{n % 2}\r\n\r\n' if n % 3 else f"row {n},{n % 2}\r\n" for n in range(40))
    whole = read("a.csv", "text,label\r\n" + content)
    for size in range(1, 40):
        monkeypatch.setattr(common, "CHUNK_BYTES", size)
        assert read("a.csv", "text,label\r\n" + content) == whole
    assert whole.rows[:3] == [(2, ("row 0", "0")), (3, ('row 1\n, "1"', "1")), (6, ('row 2\n, "2"', "0"))]


@pytest.mark.parametrize(
    ("content", "rows", "warnings"),
    [
        (",text,label\n0,good,1\n1,bad,0\n", [(2, ("good", "1")), (3, ("bad", "0"))], ["column 1 without a name"]),
        ("text,label,\ngood,1,\nbad,0,\n", [(2, ("good", "1")), (3, ("bad", "0"))], []),
        ("text,label\ngood,1,\nbad,0,\n", [(2, ("good", "1")), (3, ("bad", "0"))], []),
        ("text,label,,\ngood,1\nbad,0\n", [(2, ("good", "1")), (3, ("bad", "0"))], []),
        ("text,label,,\ngood,1,,\nbad,0\nfine,1,\n", [(2, ("good", "1")), (3, ("bad", "0")), (4, ("fine", "1"))], []),
        ("text,,label,\ngood,a,1,\nbad,b,0,c\n", [(2, ("good", "1")), (3, ("bad", "0"))], ["column 2, 4 without"]),
        ('"text","label"\n"1","good","1"\n"2","bad","0"\n', [(2, ("good", "1")), (3, ("bad", "0"))], ["column 1 with"]),
    ],
    ids=["index of pandas", "trailing", "in rows", "in the header", "in some rows", "with values", "row names of R"],
)
def test_a_column_without_a_name_is_nobodys(read, content, rows, warnings):
    found = read("a.csv", content)
    assert (found.names, found.rows) == (["text", "label"], rows)
    assert len(found.warnings) == len(warnings)
    for warning, beginning in zip(found.warnings, warnings, strict=True):
        assert warning.replace("columns", "column").startswith(f"a.csv: {beginning}")


def test_values_without_a_name_are_reported_wherever_they_are(read, monkeypatch):
    monkeypatch.setattr(dialect, "HEAD_BYTES", 50)
    monkeypatch.setattr(common, "CHUNK_BYTES", 100)
    found = read("a.csv", "text,label,,\n" + "good,1,,\n" * 500 + "bad,0,,why\n")
    assert found.warnings == ["a.csv: column 4 without a name left out"]
    assert found.rows[-1] == (502, ("bad", "0"))


def test_the_spam_collection_of_kaggle_is_read_in_its_encoding(read):
    content = 'v1,v2,,,\r\nham,"Is that £5, yes?",,,\r\nspam,"Call ""now""",,,\r\n'.encode("latin-1")
    found = read("spam.csv", content, encoding="latin-1")
    assert found.names == ["v1", "v2"]
    assert found.values == [("ham", "Is that £5, yes?"), ("spam", 'Call "now"')]
    assert found.warnings == []


def test_a_header_in_the_middle_of_joined_files_is_left_out_and_reported(read):
    found = read("a.csv", "text,label\ngood,1\ntext,label\nbad,0\ntext,1\n")
    assert found.rows == [(2, ("good", "1")), (4, ("bad", "0")), (5, ("text", "1"))]
    assert found.warnings == ["a.csv: 1 more header in the file left out"]


def test_values_are_strings_as_they_are_written(read):
    row = ("0,5", "007", "1e3", "NA", "true", "", " x ")
    found = read("a.csv", "a;b;c;d;e;f;g\n" + ";".join(row) + "\n" + ";".join(row) + "\n")
    assert found.values == [row, row]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\ngood,1\nwell, yes,1\n", ":3: 3 fields, but the header has 2, separated by commas; nothing is"),
        (
            'text,label\n"a, b",1\nwell, yes,1\n',
            ":3: 3 fields, but the header has 2, separated by commas; quote fields",
        ),
        ("text,label\ngood\n", ":2: 1 field, but the header has 2"),
        ("text,label\nhello, world,1\nyes, no,0\n", ":2: 3 fields, but the header has 2"),
        ("text,label,label\na,1,2\n", ":1: two columns are called 'label'; rename one"),
        ("\n\n", ":1: no header"),
    ],
)
def test_a_row_of_the_wrong_width_is_refused_with_its_line(read, content, message):
    with pytest.raises(UserError) as refusal:
        read("a.csv", content)
    assert f"a.csv{message}" in str(refusal.value)
    if "field" in message:
        assert "set data.separator or data.quoting" in str(refusal.value)


def test_the_line_of_a_ragged_row_counts_from_the_beginning_of_the_file(read, monkeypatch):
    monkeypatch.setattr(common, "CHUNK_BYTES", 100)
    content = "text,label\n" + "".join(f'"a\nb, {n}",1\n' for n in range(500)) + "a,b,c\n"
    with pytest.raises(UserError, match=r"a\.csv:1002: 3 fields"):
        read("a.csv", content)


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "CHUNK_BYTES", 1 << 16)
    peaks = []
    for rows in (20_000, 100_000):
        file = tmp_path / f"{rows}.csv"
        with file.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["text", "label"])
            writer.writerows((f'a "good" film, number {n}' + "\n" * (n % 3), n % 2) for n in range(rows))
        tracemalloc.start()
        assert sum(batch.num_rows for batch in delimited.read_csv(file, Data(source="a"), [])) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
