"""CoNLL files of every dialect: which columns hold words and tags, and what is no word."""

from __future__ import annotations

import random

import pytest
from datasets import Dataset

from pipeline.config.data import Data
from pipeline.config.formats import FORMATS
from pipeline.config.sources import resolve
from pipeline.data.readers import common, conll
from pipeline.data.readers.common import LINE, WORD_LINES
from pipeline.data.readers.conll import read
from pipeline.data.rows import Places
from pipeline.data.tagging.unified_tags import unify
from pipeline.errors import UserError

NAME = "a.conll"


def sentences(tmp_path, content, **settings):
    """Sentences as (line, tokens, tags), and the warnings."""
    rows, notes = columns(tmp_path, content, **settings)
    return [(row[LINE], row["tokens"], row.get("tags")) for row in rows], notes


def columns(tmp_path, content, **settings):
    file = tmp_path / NAME
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    notes: list[str] = []
    rows = [row for batch in read(file, Data(str(file), **settings), notes) for row in batch.to_pylist()]
    return rows, [note.replace(f"{file}: ", "") for note in notes]


ADA = ["Ada", "Byron", "sings"], ["B-PER", "I-PER", "O"]
OSLO = ["Oslo", "sleeps"], ["B-LOC", "O"]
BOTH = [(1, *ADA), (5, *OSLO)]
PLAIN = "Ada B-PER\nByron I-PER\nsings O\n\nOslo B-LOC\nsleeps O\n\n"

# name -> content, lines of the two sentences, warnings
DIALECTS = {
    "usual": (PLAIN, [1, 5], []),
    "numbers and tabs": (
        "1\tAda\tB-PER\tO\n2\tByron\tI-PER\tO\n3\tsings\tO\tO\n\n1\tOslo\tB-LOC\tO\n2\tsleeps\tO\tO\n\n",
        [1, 5],
        ["words in column 2, tags in column 3 (of 4: number, word, tags, tags)"],
    ),
    "numbers from 0, blanks": (
        "0 Ada B-PER\n1 Byron I-PER\n2 sings O\n\n0 Oslo B-LOC\n1 sleeps O\n\n",
        [1, 5],
        ["words in column 2, tags in column 3 (of 3: number, word, tags)"],
    ),
    "numbers through the whole file": (
        "1 Ada B-PER\n2 Byron I-PER\n3 sings O\n\n4 Oslo B-LOC\n5 sleeps O\n\n",
        [1, 5],
        ["words in column 2, tags in column 3 (of 3: number, word, tags)"],
    ),
    "sources with tabs": (
        "#\thttp://a.b/c [2009]\n1\tAda\tB-PER\tO\n2\tByron\tI-PER\tO\n3\tsings\tO\tO\n\n"
        "#\thttp://a.b/d\n1\tOslo\tB-LOC\tO\n2\tsleeps\tO\tO\n\n",
        [2, 7],
        [
            "words in column 2, tags in column 3 (of 4: number, word, tags, tags)",
            "2 comments were left out",
        ],
    ),
    "inner entities too": (
        "1 Ada B-PER B-X\n2 Byron I-PER O\n3 sings O O\n\n1 Oslo B-LOC O\n2 sleeps O O\n\n",
        [1, 5],
        ["words in column 2, tags in column 3 (of 4: number, word, tags, tags)"],
    ),
    "all tags but one column are O": (
        "Ada O B-PER O\nByron O I-PER O\nsings O O O\n\nOslo O B-LOC O\nsleeps O O O\n\n",
        [1, 5],
        ["words in column 1, tags in column 3 (of 4: word, tags, tags, tags)"],
    ),
    "parts of speech and phrases": (
        "Ada NNP B-NP B-PER\nByron NNP I-NP I-PER\nsings VB B-VP O\n\nOslo NNP B-NP B-LOC\nsleeps VB B-VP O\n\n",
        [1, 5],
        [],
    ),
    "unused columns": (
        "Ada -X- _ B-PER\nByron -X- _ I-PER\nsings -X- _ O\n\nOslo -X- _ B-LOC\nsleeps -X- _ O\n\n",
        [1, 5],
        [],
    ),
    "unused columns after the tags": (
        "1\tAda\tB-PER\t-\tme\n2\tByron\tI-PER\t-\tme\n3\tsings\tO\t-\tme\n\n1\tOslo\tB-LOC\t-\tme\n2\tsleeps\tO\t-\tme\n\n",
        [1, 5],
        ["words in column 2, tags in column 3 (of 5: number, word, tags, unused, other)"],
    ),
    "tags first": (
        "B-PER\tAda\nI-PER\tByron\nO\tsings\n\nB-LOC\tOslo\nO\tsleeps\n\n",
        [1, 5],
        ["words in column 2, tags in column 1 (of 2: tags, word)"],
    ),
    "tags and offsets first": (
        "B-PER\t0\t3\tAda\nI-PER\t4\t9\tByron\nO\t10\t15\tsings\n\nB-LOC\t17\t21\tOslo\nO\t22\t28\tsleeps\n\n",
        [1, 5],
        ["words in column 4, tags in column 1 (of 4: tags, numbers, numbers, word)"],
    ),
    "an id of the sentence": (
        "s1 Ada B-PER\ns1 Byron I-PER\ns1 sings O\n\ns2 Oslo B-LOC\ns2 sleeps O\n\n",
        [1, 5],
        ["words in column 2, tags in column 3 (of 3: other, word, tags)"],
    ),
    "names of columns": (
        "Token\tTag\nAda\tB-PER\nByron\tI-PER\nsings\tO\n\nOslo\tB-LOC\nsleeps\tO\n\n",
        [2, 6],
        [],
    ),
    "names of many columns": (
        "# language = en\nTOKEN\tNE-COARSE-LIT\tNE-FINE-LIT\tMISC\nAda\tB-PER\tB-PER.f\t_\nByron\tI-PER\tI-PER.f\t_\n"
        "sings\tO\tO\t_\n\nOslo\tB-LOC\tB-LOC.a\t_\nsleeps\tO\tO\tNoSpace\n\n",
        [3, 7],
        [
            "words in column 1, tags in column 2 (of 4: TOKEN, NE-COARSE-LIT, NE-FINE-LIT, MISC)",
            "1 comments were left out",
        ],
    ),
    "CoNLL-U": (
        "# global.columns = ID FORM NE\n# text = Ada Byron sings\n1-2\tAdaByron\t_\n1\tAda\tB-PER\n2\tByron\tI-PER\n"
        "2.1\tsilently\tO\n3\tsings\tO\n\n# text = O\n1\tOslo\tB-LOC\n2\tsleeps\tO\n\n",
        [4, 10],
        [
            "words in column 2, tags in column 3 (of 3: ID, FORM, NE)",
            "3 comments and 2 words of CoNLL-U that stand for others or are not in the text were left out",
        ],
    ),
    "Windows": (PLAIN.replace("\n", "\r\n"), [1, 5], []),
    "old Mac": (PLAIN.replace("\n", "\r"), [1, 5], []),
    "UTF-8 with a mark": ("\ufeff" + PLAIN, [1, 5], []),
    "borders of blanks": (PLAIN.replace("\n\n", "\n \t \n"), [1, 5], []),
    "borders of tabs": (PLAIN.replace(" ", "\t").replace("\n\n", "\n\t\t\n"), [1, 5], []),
    "borders of other blanks": (PLAIN.replace("\n\n", "\n\u00a0\u3000\n"), [1, 5], []),
    "many blanks": (PLAIN.replace(" ", "    ").replace("O\n", "O  \n"), [1, 5], []),
    "indented": ("  " + PLAIN.replace("\n", "\n  "), [1, 5], []),
    "documents": (
        "-DOCSTART- -X- O\n\n" + PLAIN.replace(" ", " _ ").replace("\n\n", "\n-DOCSTART-\n", 1) + "<DOCSTART>\n",
        [3, 7],
        ["3 -DOCSTART- lines were left out"],
    ),
    "numbered documents": (
        "1\t-DOCSTART-\tO\n\n1\tAda\tB-PER\n2\tByron\tI-PER\n3\tsings\tO\n\n1\tOslo\tB-LOC\n2\tsleeps\tO\n\n",
        [3, 7],
        ["words in column 2, tags in column 3 (of 3: number, word, tags)", "1 -DOCSTART- lines were left out"],
    ),
    "commas": (PLAIN.replace(" ", ","), [1, 5], []),
    "a word without a letter": (
        "Ada\tB-PER\n \tO\nByron\tI-PER\nsings\tO\n\nOslo\tB-LOC\n\tO\nsleeps\tO\n\n",
        [1, 6],
        ["2 words without a letter were left out"],
    ),
    "a word without a letter, blanks": (
        "Ada B-PER\n O\nByron I-PER\nsings O\n\nOslo B-LOC\nsleeps O\n\n",
        [1, 6],
        ["1 words without a letter were left out"],
    ),
    "tags among other pairs": (
        "1\tAda\tname=B-PER|SpaceAfter=No\n2\tByron\tGender=Fem|name=I-PER\n3\tsings\tname=O\n\n"
        "1\tOslo\tname=B-LOC\n2\tsleeps\t_\n\n",
        [1, 5],
        ["words in column 2, tags in column 3 as name= (of 3: number, word, other)"],
    ),
    "probabilities after the tags": (
        "Ada B-PER 0.98\nByron I-PER 0.9\nsings O 1.0\n\nOslo B-LOC 0.7\nsleeps O 0.99\n\n",
        [1, 5],
        ["words in column 1, tags in column 2 (of 3: word, tags, other)"],
    ),
    "letters beside tags": (
        "Ada F B-PER\nByron M I-PER\nsings _ O\n\nOslo M B-LOC\nsleeps _ O\n\n",
        [1, 5],
        [],
    ),
    "an empty last column": (
        "Ada\tB-PER\tx\nByron\tI-PER\t\nsings\tO\n\nOslo\tB-LOC\ty\nsleeps\tO\tz\n\n",
        [1, 5],
        ["words in column 1, tags in column 2 (of 3: word, tags, other)"],
    ),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_words_and_tags_are_found_in_every_dialect(tmp_path, name):
    content, lines, notes = DIALECTS[name]
    found = [(line, *expected) for line, expected in zip(lines, (ADA, OSLO), strict=True)]
    assert sentences(tmp_path, content) == (found, notes)


def test_words_and_tags_keep_their_places_among_comments_and_words_left_out(tmp_path):
    content = "# a\n1\tAda\tB-PER\n# b\n\t\t\n\n1\tOslo\tB-LOC\n2\t\tO\n3\tsleeps\tO\n"
    rows, _ = columns(tmp_path, content)
    assert [row[WORD_LINES] for row in rows] == [[2], [6, 8]]
    assert [row["1"] for row in rows] == [["1"], ["1", "3"]]


@pytest.mark.parametrize(
    ("content", "tags"),
    [
        ("Ada PER\nByron PER\nsings O\n\nOslo LOC\nsleeps O\n\n", ["PER", "PER", "O"]),
        ("Ada NNP person-artist\nByron NNP person-artist\nsings VB O\n\nOslo NNP place\nsleeps VB O\n\n", None),
        ("Ada B_PER\nByron I_PER\nsings O\n\nOslo B_LOC\nsleeps O\n\n", ["B_PER", "I_PER", "O"]),
        ("Ada PER-B\nByron PER-I\nsings O\n\nOslo LOC-B\nsleeps O\n\n", ["PER-B", "PER-I", "O"]),
        ("Ada B\nByron I\nsings O\n\nOslo B\nsleeps O\n\n", ["B", "I", "O"]),
        ("Ada 1\nByron 2\nsings 0\n\nOslo 3\nsleeps 0\n\n", ["1", "2", "0"]),
    ],
)
def test_tags_of_any_form_are_found_and_kept_as_they_are(tmp_path, content, tags):
    found, notes = sentences(tmp_path, content)
    assert found[0] == (1, ADA[0], tags or ["person-artist", "person-artist", "O"])
    assert notes == []


def test_words_of_wikiann_lose_the_language_before_them(tmp_path):
    words = [f"w{number}" for number in range(30)]
    content = "".join(f"en:{word}\tO\n" for word in words) + "en::\tB-X\n\n"
    found, notes = sentences(tmp_path, content)
    assert found == [(1, [*words, ":"], ["O"] * 30 + ["B-X"])]
    assert notes == ["words in column 1 after 'en:', tags in column 2 (of 2: word, tags)"]
    assert sentences(tmp_path, content.replace("en:w7", "w7"))[0][0][1][0] == "en:w0"


def test_ids_of_words_are_not_taken_for_words(tmp_path):
    words = [f"w{number % 30}" for number in range(120)]
    lines = [f"d1.t{number} {word} {'OB'[number % 2]}" for number, word in enumerate(words)]
    for content in ("\n".join(lines), "\n".join(lines).replace("d1.t", "S-")):
        found, _ = sentences(tmp_path, content + "\n\n")
        assert found == [(1, words, ["O", "B"] * 60)]


def test_a_word_o_does_not_make_words_types(tmp_path):
    """O gato, in Portuguese: without another column with O, the last one is taken, which is refused later."""
    found, _ = sentences(tmp_path, "O DET\ngato NOUN\n\nO DET\ncarro NOUN\n\n")
    assert found[0] == (1, ["O", "gato"], ["DET", "NOUN"])
    found, _ = sentences(tmp_path, "O O\nPorto LOC\n\nO O\nRio LOC\n\n")
    assert found[0] == (1, ["O", "Porto"], ["O", "LOC"])


def test_marks_of_a_treebank_are_not_taken_for_types(tmp_path):
    content = "1\tAda\t_\tSpaceAfter=No\n2\tsings\t_\t_\n3\there\t_\t_\n\n1\tOslo\t_\t_\n2\tsleeps\t_\t_\n\n"
    found, _ = sentences(tmp_path, content)
    with pytest.raises(UserError, match="is not a tag"):
        name_tags(tmp_path, [tags for _, _, tags in found])


def name_tags(tmp_path, tags):
    rows = Dataset.from_dict({"tags": tags, "line": range(len(tags)), "lines": [None] * len(tags)})
    return unify({"train": rows}, {"train": Places(("x",), "x")}, "iob2", tmp_path)


def test_numbers_that_data_label_names_names_are_tags(tmp_path):
    content = "Ada 1 9\nByron 2 8\nsings 0 9\n\nOslo 1 9\nsleeps 0 7\n\n"
    found, _ = sentences(tmp_path, content, label_names=("0=O", "1=B-X", "2=I-X"))
    assert found[0] == (1, ADA[0], ["1", "2", "0"])


@pytest.mark.parametrize("settings", [{"tag_column": "3"}, {"tag_column": "3", "token_column": "2"}])
def test_settings_choose_the_columns(tmp_path, settings):
    content = "1 Ada O B-PER\n2 Byron B-X I-PER\n3 sings O O\n\n1 Oslo O B-LOC\n"
    found, _ = sentences(tmp_path, content, **settings)
    assert found[0] == (1, ADA[0], ["O", "B-X", "O"])
    assert sentences(tmp_path, content)[0][0] == (1, *ADA)


def test_settings_choose_columns_by_their_names(tmp_path):
    content = "word lemma outer inner\nAda A B-PER O\nByron B I-PER B-X\nsings C O O\n\nOslo D B-LOC O\n\n"
    rows, _ = columns(tmp_path, content, tag_column="inner", token_column="lemma")
    assert (rows[0]["tokens"], rows[0]["tags"]) == (["A", "B", "C"], ["O", "B-X", "O"])
    assert rows[0]["inner"] == rows[0]["4"] == rows[0]["tags"]


def test_a_setting_chooses_the_separator(tmp_path):
    found, _ = sentences(tmp_path, "New York/B-LOC\nis/O\n\nbig/O\n\n", separator="/")
    assert found == [(1, ["New York", "is"], ["B-LOC", "O"]), (4, ["big"], ["O"])]
    found, _ = sentences(tmp_path, "New York\tO\nis O\tO\n\n", separator="tab")
    assert found == [(1, ["New York", "is O"], ["O", "O"])]


def test_words_may_be_commas_in_a_file_with_commas(tmp_path):
    found, _ = sentences(tmp_path, "Ada,B-PER\n,,O\nsings,O\n\nOslo,B-LOC\n\n")
    assert found[0] == (1, ["Ada", ",", "sings"], ["B-PER", "O", "O"])


def test_words_may_contain_quotation_marks_and_any_letters(tmp_path):
    words = [
        '"',
        '""',
        "'",
        "\\",
        "NA",
        "null",
        "nan",
        "#",
        "#tag",
        "O",
        "B-PER",
        "1",
        "\u2028",
        "\u00a0",
        "é",
        "日本",
        "-",
    ]
    content = "".join(f"{word}\tO\n" for word in words) + "\nOslo\tB-LOC\n\n"
    assert sentences(tmp_path, content) == (
        [(1, words, ["O"] * len(words)), (len(words) + 2, ["Oslo"], ["B-LOC"])],
        [],
    )


def test_a_mark_that_begins_a_block_is_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "CHUNK_BYTES", 10)
    found, _ = sentences(tmp_path, "Ada B-PER\n\n\ufeff O\n\n")
    assert found == [(1, ["Ada"], ["B-PER"]), (3, ["\ufeff"], ["O"])]


def test_a_file_of_words_alone_has_no_tags(tmp_path):
    assert sentences(tmp_path, "Ada\nsings\n\nOslo\n\n") == ([(1, ["Ada", "sings"], None), (4, ["Oslo"], None)], [])
    found, _ = sentences(tmp_path, "1\tAda\n2\tsings\n\n1\tOslo\n\n")
    assert found == [(1, ["Ada", "sings"], None), (4, ["Oslo"], None)]


def test_an_entity_is_searched_for_beyond_the_beginning(tmp_path, monkeypatch):
    """The first column of tags has its first entity late; until then, no other tells which of them has any."""
    monkeypatch.setattr(conll, "HEAD_BYTES", 100)
    content = "it O O\nrains O O\n\n" * 50 + "Oslo B-LOC O\nsleeps O O\n\n"
    found, notes = sentences(tmp_path, content)
    assert found[-1] == (151, *OSLO)
    assert notes == ["words in column 1, tags in column 2 (of 3: word, tags, tags)"]


def random_file(generator):
    """A file, and its sentences as (line, tokens, tags)."""
    lines, expected = [], []
    for _ in range(generator.randint(3, 30)):
        for _ in range(generator.randint(0, 2)):
            lines.append(generator.choice(["# text = O", "-DOCSTART- X O", "", " "]))
        words = [generator.choice(["Ada", "é", "日本", '"', "O", "#tag"]) for _ in range(generator.randint(1, 9))]
        tags = [generator.choice(["O", "B-X", "I-Y"]) for _ in words]
        expected.append((len(lines) + 1, words, tags))
        for word, tag in zip(words, tags, strict=True):
            lines.append(generator.choice([f"{word} x {tag}", f"{word}\tx  {tag} "]))
        lines.append(generator.choice(["", "  ", "-DOCSTART-"]))
    return "\n".join(lines), expected


def test_sentences_are_the_same_however_the_file_is_cut_into_blocks(tmp_path, monkeypatch):
    generator = random.Random(0)
    for _ in range(60):
        content, expected = random_file(generator)
        monkeypatch.setattr(common, "CHUNK_BYTES", generator.choice([20, 64, 200, 1 << 20]))
        content = generator.choice([content, content.replace("\n", "\r\n")])
        assert sentences(tmp_path, content)[0] == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "Ada x B-PER\nsings O\n\n" + "Oslo x B-LOC\n\n" * 3,
            ":2: 2 columns, but most lines have 3, separated by blanks",
        ),
        ("Ada\tB-PER\nsings\n\nOslo\tB-LOC\nis\tO\n\n", ":2: 1 columns, but most lines have 2, separated by tabs"),
        ("Ada\tB-PER\nsings\tx\tO\n\nOslo\tB-LOC\n\n", ":2: 3 columns, but most lines have 2, separated by tabs"),
        ("Ada B-PER\nsings VBZ O\n\nOslo B-LOC\n\n", ":2: 3 columns, but most lines have 2, separated by blanks"),
        (b"Ada B-PER\n\ncaf\xe9 O\n", ":3: not UTF-8 at byte 14 (0xe9); "),
        ("Ada B-PER\n\0 O\n", ": a NUL at byte 10"),
        (PLAIN.replace("\n\n", "\n") * 100, ": no blank line in 500 lines, so all of it is one sentence; put a blank"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(tmp_path, content, message):
    with pytest.raises(UserError) as refusal:
        sentences(tmp_path, content)
    assert str(refusal.value).startswith(f"{tmp_path / NAME}{message}")
    assert "\n" not in str(refusal.value)


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "CHUNK_BYTES", 1000)
    file = tmp_path / NAME
    file.write_text(PLAIN * 1000)
    sizes = [len(batch) for batch in read(file, Data(str(file)), [])]
    assert sum(sizes) == 2000
    assert max(sizes) < 100


def test_a_blank_line_at_the_end_divides_nothing_and_one_long_sentence_is_reported(tmp_path):
    words = "".join(f"Ada{number} B-PER\nsings O\n" for number in range(50))
    found, notes = sentences(tmp_path, f"\n{words}\n")
    assert len(found) == 1
    assert notes == ["it has no blank line between words, so all of it is one sentence"]


def test_letters_that_are_numbered_within_their_words_lose_the_number(tmp_path):
    """Weibo NER, second edition."""
    letters = [chr(0x4E00 + number) for number in range(25)]
    content = "".join(f"{letter}{number % 2}\t{'B-PER' if number else 'O'}\n" for number, letter in enumerate(letters))
    ((_, tokens, _),), _ = sentences(tmp_path, content + "\n")
    assert tokens == letters
    ((_, tokens, _),), _ = sentences(tmp_path, "A1\tB-PER\nleft\tO\n\n")
    assert tokens == ["A1", "left"]


def test_brackets_around_entities_are_read_with_a_column_for_each_verb(tmp_path):
    """CoNLL-2012, as OntoNotes is distributed for it."""
    content = (
        "#begin document (bc/a); part 000\n"
        "bc/a 0 0 Ada NNP (TOP(S(NP* - - - Sp#1 (PERSON* (ARG0* (1\n"
        "bc/a 0 1 Byron NNP *) - - - Sp#1 *) *) 1)\n"
        "bc/a 0 2 sings VBZ (VP*) sing 01 1 Sp#1 * (V*) -\n"
        "bc/a 0 3 . . *)) - - - Sp#1 * * -\n\n"
        "bc/a 0 0 Oslo NNP (TOP(NP*)) - - - Sp#1 (GPE) -\n"
        "bc/a 0 1 Rome NNP (TOP(NP*)) - - - Sp#1 (GPE) -\n\n"
        "#end document\n"
    )
    found, _ = sentences(tmp_path, content)
    assert [row[1:] for row in found] == [
        (["Ada", "Byron", "sings", "."], ["B-PERSON", "I-PERSON", "O", "O"]),
        (["Oslo", "Rome"], ["B-GPE", "B-GPE"]),
    ]


def test_a_column_may_say_where_sentences_end(tmp_path):
    """HIPE-2022 has blank lines between documents only."""
    content = (
        "TOKEN\tNE-COARSE-LIT\tMISC\n# hipe2022:document_id = a\nAda\tB-pers\t_\nsings\tO\tEndOfSentence\n"
        "Oslo\tB-loc\tNoSpaceAfter\nsleeps\tO\tNoSpaceAfter|EndOfSentence\n\n"
        "# hipe2022:document_id = b\nAda\tB-pers\t_\n"
    )
    found, _ = sentences(tmp_path, content)
    assert [row[1] for row in found] == [["Ada", "sings"], ["Oslo", "sleeps"], ["Ada"]]
    table = tmp_path / "a.tsv"
    header, _, body = content.partition("\n\n")[0].partition("\n")
    table.write_text(f"{header}\n" + f"{body}\n" * 5)
    assert resolve(Data(str(table)), "ner").parts["train"][0].format is FORMATS["conll"]


def test_a_table_with_sentence_numbers_is_no_conll_file_because_it_ends_with_a_blank_line(tmp_path):
    file = tmp_path / "a.tsv"
    file.write_text("sentence_id\twords\tlabels\n1\tAda\tB-PER\n1\tsings\tO\n2\tOslo\tB-LOC\n2\tsleeps\tO\n\n")
    assert resolve(Data(str(file)), "ner").parts["train"][0].format is FORMATS["tsv"]
