"""How a table is written is decided from all of the file, from settings, or not at all: rows are never swallowed."""

from __future__ import annotations

import csv
import io
import random

import pytest
from small_files import read  # noqa: F401 (a fixture)

from pipeline.data.readers import dialect
from pipeline.errors import UserError

PLAIN = "a.tsv: nothing is quoted, and quotation marks are part of the text"
NO_HEADER = "a.csv: no header; columns are numbered from 1"


def sentences(count: int) -> list[str]:
    return [f"the story of film {number} , told with care" for number in range(count)]


def table(rows, separator="\t", head=("sentence", "label")) -> str:
    return "".join(separator.join(map(str, row)) + "\n" for row in ([head] if head else []) + list(rows))


def test_a_tsv_without_quoting_has_a_row_on_each_line(read):
    rows = [(text, str(number % 2)) for number, text in enumerate(sentences(80))]
    rows[5] = ('"the story of film 5 , she said', "1")  # opens a quotation that closes lines later
    rows[12] = ('he called it a story"', "0")
    found = read("a.tsv", table(rows))
    assert found.rows == [(line, row) for line, row in enumerate(rows, start=2)]
    assert found.warnings == [PLAIN]


@pytest.mark.parametrize(
    "text",
    [
        '"lovely" is the word',
        '"lovely',
        'lovely"',
        'a "lovely" film',
        '"a lovely film"',
        '""lovely"',
        "''lovely \"",
        '" lovely " , she said , " and warm "',
    ],
)
def test_a_quotation_mark_in_an_unquoted_tsv_is_a_letter(read, text):
    rows = [(own, str(number % 2)) for number, own in enumerate(sentences(30))]
    rows[9] = (text, "1")
    found = read("a.tsv", table(rows))
    assert found.values == rows
    assert found.warnings in ([PLAIN], [])
    assert read("a.tsv", table(rows), quoting="none").values == rows


def test_no_row_of_an_unquoted_tsv_is_swallowed_wherever_its_marks_are(read):
    for seed in range(150):
        generator = random.Random(seed)
        labels = generator.choice([["0", "1"], ["pos", "neg"], [f"c{number}" for number in range(30)]])
        rows = []
        for _ in range(generator.choice([30, 200])):
            words = generator.choices(["good", "film", "a", "the", ",", "story"], k=generator.randint(2, 9))
            marked = [generator.choice(['"{}', '{}"', '"{}"', '""{}']).format(word) for word in words]
            text = " ".join(generator.choices([*words, marked[0]], k=len(words)))
            rows.append((text, generator.choice(labels)))
        if seed % 2:
            rows = [row[::-1] for row in rows]
        found = read("a.tsv", table(rows, head=("label", "text") if seed % 2 else ("text", "label")))
        assert found.values == rows, seed


def test_unquoted_lines_are_rows_in_a_csv_too_if_their_labels_say_so(read):
    content = 'text,label\n"a fresh one,1\nstale,0\nit was "good",1\nfoo,0\nbar,1\n'
    swallowed = 'text,label\n"a fresh one,1\nstale,0\ngood",1\nfoo,0\nbar,1\n'
    for text in (content, swallowed):
        assert [line for line, _ in read("a.csv", text).rows] == [2, 3, 4, 5, 6]
    assert read("a.csv", swallowed, quoting="double").values[0] == ("a fresh one,1\nstale,0\ngood", "1")


def test_quoted_texts_of_several_lines_with_as_many_commas_as_a_row_are_texts(read):
    found = read("a.csv", 'text,label\n"a fine, long\nstory",pos\nfair,neg\ngood,pos\n')
    assert found.rows == [(2, ("a fine, long\nstory", "pos")), (4, ("fair", "neg")), (5, ("good", "pos"))]
    assert found.warnings == []


def test_rows_with_the_text_at_the_end_are_not_swallowed_either(read):
    rows = [(str(number % 2), text) for number, text in enumerate(sentences(40))]
    rows[5] = ("1", '"the story , ""so"" it began')
    rows[9] = ("0", 'it ended"')
    assert read("a.tsv", table(rows, head=("label", "sentence"))).values == rows


def test_doubled_marks_show_that_a_file_is_quoted(read):
    content = "text,label\n" + "".join(f'"good, ""x""\nfilm {number}",{number % 2}\n' for number in range(40))
    assert read("a.csv", content).values == [(f'good, "x"\nfilm {number}', str(number % 2)) for number in range(40)]


def test_a_file_that_can_be_read_in_two_ways_is_refused_until_a_setting_decides(read):
    content = 'text,note\n"so, it\nbegan",new\n'
    with pytest.raises(UserError, match=r"a\.csv: .*may enclose texts of several lines.*data\.quoting to double"):
        read("a.csv", content)
    assert read("a.csv", content, quoting="double").values == [("so, it\nbegan", "new")]
    assert read("a.csv", content, quoting="none").values == [('"so', " it"), ('began"', "new")]


def test_marks_in_the_middle_of_unquoted_fields_are_text_beside_quoted_ones(read):
    found = read("a.csv", 'text,label\nHe said "hi" to me,1\n"Well, yes",0\n5" pipe,1\n')
    assert found.values == [('He said "hi" to me', "1"), ("Well, yes", "0"), ('5" pipe', "1")]
    assert found.warnings == []


def test_a_blank_before_a_quoted_field_is_not_part_of_it(read):
    content = 'label, text\n1, "Well, ""yes"", so\n it is"\n0, "no"\n 1,  plain\n'
    found = read("a.csv", content)
    assert found.rows == [(2, ("1", 'Well, "yes", so\n it is')), (4, ("0", "no")), (5, ("1", "plain"))]
    assert found.names == ["label", "text"]
    assert read("a.csv", content, quoting="double") == found
    assert read("a.csv", 'text,label\nHe said "no",1\n').values == [('He said "no"', "1")]


def test_the_escaped_marks_of_the_imdb_reviews_of_kaggle_are_read(read):
    head = "id\tsentiment\treview\n"
    content = head + "".join(f'"{n}_8"\t{n % 2}\t"With \\"all\\" this, {n}<br />C:\\dir"\n' for n in range(9))
    found = read("a.tsv", content)
    assert found.values == [(f"{n}_8", str(n % 2), f'With "all" this, {n}<br />C:\\dir') for n in range(9)]
    assert found.warnings == ["a.tsv: quotation marks are escaped by backslashes"]
    assert read("a.tsv", content, quoting="backslash").values == found.values


def test_a_backslash_before_the_last_mark_of_a_field_does_not_escape_it_in_a_file_of_doubled_marks(read):
    found = read("a.csv", 'text,label\n"see C:\\",1\n"say ""so"", then",0\n')
    assert found.values == [("see C:\\", "1"), ('say "so", then', "0")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"he said ""yes"""', 'he said "yes"'),
        ('"I loved it, really"', "I loved it, really"),
        ('"with\ttab"', "with\ttab"),
        ('"two\nlines"', "two\nlines"),
    ],
    ids=["doubled mark", "comma, as in a spreadsheet", "tab", "line break"],
)
def test_a_tsv_in_which_only_fields_that_need_it_are_quoted_is_quoted(read, text, expected):
    content = table([("fine", 1), (text, 0), ("so it is", 1), ("well", 0), ("done", 1)])
    found = read("a.tsv", content)
    assert found.values[1] == (expected, "0")
    assert len(found.rows) == 5
    assert found.warnings == []


def test_a_tsv_with_all_fields_quoted_is_quoted(read):
    content = "".join(f'"{text}"\t"{number % 2}"\n' for number, text in enumerate(["sentence", *sentences(20)]))
    assert read("a.tsv", content.replace('"0"', '"label"', 1)).values[0] == (sentences(1)[0], "1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('text,label\n"a, b",1\n"He said "hi", twice",1\n', ":3: text follows the quotation mark that closes a field"),
        ('text,label\n"a, b",1\n"c, d",0\n"cut o', ":4: the quotation mark that opens a field is never closed"),
        (
            'text\tlabel\n"a\t1\nb\t0\tc\n',
            ":2: the quotation mark that opens a field is never closed; without quoting,",
        ),
    ],
)
def test_a_table_without_a_sound_reading_is_refused_with_line_and_settings(read, content, message):
    with pytest.raises(UserError) as refusal:
        read("a.csv", content)
    assert f"a.csv{message}" in str(refusal.value)
    assert "set data.quoting to double, backslash or none" in str(refusal.value)


def test_swallowed_rows_are_not_accepted_because_another_line_is_broken(read):
    rows = [(text, str(number % 2)) for number, text in enumerate(sentences(40))]
    rows[5] = ('"so it begins', "1")
    rows[9] = ('and ends"', "0")
    content = table(rows) + "a line\twith\tthree\n"
    with pytest.raises(UserError, match=r"line 42 has 3 fields instead of 2"):
        read("a.tsv", content)


def test_a_quoting_that_is_set_must_fit(read):
    with pytest.raises(UserError, match=r"a\.csv:2: text follows .*set data\.quoting to another value"):
        read("a.csv", 'text,label\n"a"b,1\n', quoting="double")
    assert read("a.csv", 'text,label\n"a",1\n', quoting="none").values == [('"a"', "1")]


def test_a_mark_far_down_the_file_decides_about_its_first_row(read, monkeypatch):
    monkeypatch.setattr(dialect, "HEAD_BYTES", 200)
    rows = [(text, str(number % 2)) for number, text in enumerate(sentences(2000))]
    rows[3] = ('"the story of film 3', "1")
    rows[1990] = ('it ends here"', "0")
    assert read("a.tsv", table(rows)).values == rows


@pytest.mark.parametrize(
    ("name", "content", "values", "warning"),
    [
        ("a.csv", 'text;label\r\n"a, b";1\r\n"c, d";0\r\n', [("a, b", "1"), ("c, d", "0")], "semicolons"),
        ("a.csv", "text|label\na, b|1\nc|0\n", [("a, b", "1"), ("c", "0")], "vertical bars"),
        ("a.csv", "text\tlabel\na, b\t1\nc\t0\n", [("a, b", "1"), ("c", "0")], "tabs"),
        ("a.tsv", 'text,label\n"a, b",1\nc,0\n', [("a, b", "1"), ("c", "0")], "commas"),
        ("a.csv", "text;score\nfine;0,5\nbad;1,5\n", [("fine", "0,5"), ("bad", "1,5")], "semicolons"),
        ("a.csv", "text,label\na;b,1\nc;d,0\n", [("a;b", "1"), ("c;d", "0")], None),
        ("a.csv", "sep=;\r\ntext;label\r\na, b;1\r\n", [("a, b", "1")], None),
        ("a.csv", "sep=\t\ntext\tlabel\na, b\t1\n", [("a, b", "1")], None),
    ],
)
def test_the_separator_is_the_one_that_makes_a_table(read, name, content, values, warning):
    found = read(name, content)
    assert found.values == values
    assert found.warnings == ([f"{name}: the columns are separated by {warning}"] if warning else [])


def test_a_declared_separator_does_not_shift_line_numbers(read):
    assert read("a.csv", "sep=;\r\ntext;label\r\ngood;1\r\n\r\nbad;0\r\n").rows == [
        (3, ("good", "1")),
        (5, ("bad", "0")),
    ]


def test_comments_before_a_table_are_left_out_and_reported(read):
    found = read("a.csv", "# exported by hand\n# in 2020\ntext,label\n# good,1\nbad,0\n")
    assert found.rows == [(4, ("# good", "1")), (5, ("bad", "0"))]
    assert found.warnings == ["a.csv: 2 comments before the table left out"]
    assert read("a.csv", "# hashtag\nall is well\nwell, it is\n").names == ["# hashtag"]


def test_a_separator_that_is_set_is_used(read):
    assert read("a.csv", "text~label\na, b~1\n", separator="~").values == [("a, b", "1")]
    assert read("a.csv", "text\tlabel\na\t1\n", separator="tab").warnings == []
    with pytest.raises(UserError, match=r"data\.separator: '::' cannot separate columns"):
        read("a.csv", "text::label\na::1\n", separator="::")


def test_several_separators_that_fit_are_left_to_the_setting(read):
    content = "a;b|c\nd;e|f\n"
    with pytest.raises(UserError, match=r"separated by semicolons or vertical bars; set data\.separator"):
        read("a.csv", content)
    assert read("a.csv", content, separator="|", header=False).values == [("a;b", "c"), ("d;e", "f")]


def test_texts_alone_may_contain_commas(read):
    found = read("a.csv", 'text\nwell, well, well\nno\nso, "yes"\n')
    assert found.values == [("well, well, well",), ("no",), ('so, "yes"',)]
    assert found.warnings == ["a.csv: one column, whose texts contain commas"]
    assert read("a.csv", "text\ngood\nbad\n").values == [("good",), ("bad",)]


SENTIMENT140 = "".join(
    f'"{number % 2 * 4}","{1467810369 + number}","Mon Apr 06 22:{number:02}:45 PDT 2009","NO_QUERY","user{number}",'
    f'"@friend {text}, sure"\n'
    for number, text in enumerate(sentences(40))
)
COLA = "".join(f"gj04\t{number % 2}\t{'*' * (1 - number % 2)}\t{text}\n" for number, text in enumerate(sentences(40)))


@pytest.mark.parametrize(
    ("name", "content", "first"),
    [
        ("a.csv", SENTIMENT140, ("0", "1467810369", "Mon Apr 06 22:00:45 PDT 2009", "NO_QUERY", "user0")),
        ("a.tsv", COLA, ("gj04", "0", "*")),
        ("a.csv", "3,Oil prices,Oil rises again today\n1,Markets,Markets fall for a second day\n", ("3", "Oil prices")),
        ("a.tsv", "ham\tgo there now\nham\tok\nspam\tcall us\nham\tyes\n", ("ham", "go there now")),
        ("a.csv", "good,pos\nbad,neg\nfine,pos\nawful,neg\nok,pos\n", ("good", "pos")),
        ("a.tsv", "".join(f"{text}\n" for text in sentences(5)), (sentences(1)[0],)),
        (
            "a.csv",
            "这部电影非常好看很喜欢,好\n剧情拖沓太差了我非常失望,差\n演员出色的这部电影太好看了,好\n",
            ("这部电影非常好看很喜欢",),
        ),
        ("a.csv", "2009-04-06,fine\n2009-04-07,bad\n", ("2009-04-06", "fine")),
    ],
    ids=["Sentiment140", "CoLA", "AG News", "SMS", "short texts", "texts alone", "Chinese", "dates"],
)
def test_a_table_without_a_header_has_numbered_columns_and_a_row_on_its_first_line(read, name, content, first):
    found = read(name, content)
    assert found.rows[0][0] == 1
    assert found.values[0][: len(first)] == first
    assert found.names == [str(number) for number in range(1, len(found.values[0]) + 1)]
    assert f"{name}: no header; columns are numbered from 1" in found.warnings
    assert len(found.rows) == len(list(csv.reader(io.StringIO(content))))


@pytest.mark.parametrize(
    ("head", "row"),
    [
        (("headline", "is_sarcastic"), ("A long headline about a film", "1")),
        (("headline", "kind"), ("A long headline about a film", "comic")),
        (("id", "2019", "2020"), ("1", "2", "3")),
        (("0", "1"), ("some words", "1")),
        (("text", "label"), ("text", "label")),
        (("Wie hat Ihnen der Film heute gefallen?", "Note"), ("sehr", "1")),
        (("anchor", "positive", "negative"), ("a film", "the film", "no film")),
    ],
)
def test_a_first_line_of_names_is_a_header(read, head, row):
    found = read("a.csv", table([(*row[:-1], row[-1])] + [(f"{row[0]}s", *row[1:])] * 2, ",", head))
    assert found.names == list(head)
    assert found.rows[0][0] in (2, 3)
    assert NO_HEADER not in found.warnings


def test_a_header_that_cannot_be_told_from_a_row_is_left_to_the_setting(read):
    content = table([(number, "film" if number % 2 else "book") for number in range(20)], ",", ("n/m", "film"))
    with pytest.raises(UserError, match=r"a\.csv:1: .*set data\.header to true or false"):
        read("a.csv", content)
    with pytest.raises(UserError, match=r"a\.csv:1: .*set data\.header to true or false"):
        read("a.csv", table([(text, "toxic") for text in sentences(9)], ";", ("post", "toxic")))
    assert read("a.csv", content, header=True).names == ["n/m", "film"]
    assert read("a.csv", content, header=False).values[0] == ("n/m", "film")


def test_a_header_that_is_set_is_believed(read):
    assert read("a.csv", "1,2\n3,4\n", header=True).rows == [(2, ("3", "4"))]
    found = read("a.csv", "text,label\ngood,1\n", header=False)
    assert (found.names, found.values, found.warnings) == (["1", "2"], [("text", "label"), ("good", "1")], [])


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_names_are_read_without_blanks_and_marks(read, name):
    separator = "," if name == "a.csv" else "\t"
    assert read(name, f'\ufeff"text"{separator}" Label "\n"good"{separator}1\n').names == ["text", "Label"]


def test_a_table_without_rows_has_none(read):
    assert read("a.csv", "text,label\n").rows == []
    assert read("a.csv", "text,label").rows == []
