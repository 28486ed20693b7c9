"""Translations in every form that they come in: which column is the text, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.config import sources
from pipeline.config.data import Data
from pipeline.data import new_rows
from pipeline.data.readers import catalogues
from pipeline.data.sources import load
from pipeline.errors import UserError
from pipeline.tasks.translation import Translation

PAIRS = [("the old house", "das alte Haus"), ("a small dog sleeps", "ein kleiner Hund schläft"), ("no", "nein")]
TMX = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="en" adminlang="en"/><body>
<tu tuid="1"><note>a note</note><tuv xml:lang="EN"><seg>the <bpt i="1">&lt;b&gt;</bpt>old<ept i="1">&lt;/b&gt;</ept>
 house</seg></tuv><tuv xml:lang="de"><seg>das alte <hi>Haus</hi></seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>a &amp; b &lt;c&gt;</seg></tuv><tuv xml:lang="de"><seg>a &amp; b</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>only English</seg></tuv></tu>
</body></tmx>
"""


def read(place: Path, tmp_path: Path, task: str | None = "translation", **settings) -> dict[str, list[tuple[str, str]]]:
    """The pairs of each split."""
    (folder := tmp_path / "written").mkdir(exist_ok=True)
    loaded = load(sources.resolve(Data(str(place), **settings), task), Translation.columns, folder)
    return {split: list(zip(rows["text"], rows["target"], strict=True)) for split, rows in loaded.splits.items()}


def write(file: Path, lines: list[str]) -> Path:
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_columns_with_usual_names_are_found(tmp_path):
    file = write(tmp_path / "a.jsonl", [json.dumps({"id": 1, "target": b, "source": a}) for a, b in PAIRS])
    assert read(file, tmp_path) == {"train": PAIRS}
    file = write(tmp_path / "b.jsonl", [json.dumps({"document": a, "summary": b, "id": "x"}) for a, b in PAIRS])
    assert read(file, tmp_path) == {"train": PAIRS}


def test_a_table_of_two_columns_without_names_has_the_text_first(tmp_path):
    file = write(tmp_path / "a.tsv", [f"{a}\t{b}" for a, b in PAIRS])
    assert read(file, tmp_path, header=False) == {"train": PAIRS}


def test_the_languages_of_a_dataset_of_the_hub_are_columns_whose_direction_a_setting_says(tmp_path):
    rows = [json.dumps({"translation": {"en": a, "de": b}}) for a, b in PAIRS]
    file = write(tmp_path / "a.jsonl", rows)
    assert read(file, tmp_path, text_column="en") == {"train": PAIRS}
    assert read(file, tmp_path, target_column="en") == {"train": [(b, a) for a, b in PAIRS]}
    with pytest.raises(UserError, match=r"which column is to be translated, 'en' or 'de'\? Set data.text_column"):
        read(file, tmp_path)
    with pytest.raises(UserError, match=r"data.target_column: .* has no column 'fr'; there are: de, en"):
        read(file, tmp_path, target_column="fr")


@pytest.mark.parametrize("task", ["translation", None])
def test_files_of_the_same_name_in_two_languages_are_read_line_by_line(task, tmp_path):
    for split, pairs in (("train", PAIRS), ("dev", PAIRS[:1])):
        for language, number in (("en", 0), ("de", 1)):
            write(tmp_path / f"{split}.{language}", [pair[number] for pair in pairs])
    expected = {"train": PAIRS, "validation": PAIRS[:1]}
    assert read(tmp_path, tmp_path, task, text_column="en") == expected
    assert read(tmp_path / "train.en", tmp_path, task, text_column="en") == {"train": PAIRS}
    write(tmp_path / "dev.de", ["eins", "zwei"])
    with pytest.raises(UserError, match=r"dev.de:2: dev.en has only 1 lines"):
        read(tmp_path, tmp_path, task, text_column="en")


def test_two_of_three_languages_are_read(tmp_path):
    write(tmp_path / "train.fr", ["one line only"])
    for language, number in (("en", 0), ("pt_BR", 1)):
        write(tmp_path / f"train.{language}", [pair[number] for pair in PAIRS])
    assert read(tmp_path, tmp_path, text_column="en", target_column="pt_BR") == {"train": PAIRS}


def test_a_translation_memory_is_read_without_its_markup(tmp_path):
    file = write(tmp_path / "a.tmx", [TMX])
    assert read(file, tmp_path, text_column="en") == {"train": [PAIRS[0], ("a & b <c>", "a & b")]}
    encoded = tmp_path / "b.tmx"
    encoded.write_bytes(TMX.replace("UTF-8", "UTF-16").encode("utf-16"))
    assert read(encoded, tmp_path, text_column="de")["train"][0] == PAIRS[0][::-1]


def test_a_translation_memory_reads_no_other_file_and_declares_no_entity(tmp_path):
    secret = write(tmp_path / "secret.txt", ["secret"])
    for declared in (f'<!ENTITY a SYSTEM "{secret}">', '<!ENTITY a "aaaa">', '<!ENTITY % a "b">'):
        text = TMX.replace('SYSTEM "tmx14.dtd"', f"[{declared}]").replace("a note", "&a;")
        with pytest.raises(UserError, match=r"a.tmx:2: it declares the entity a; write out its text"):
            read(write(tmp_path / "a.tmx", [text]), tmp_path, text_column="en")
    with pytest.raises(UserError, match=r"a.tmx:\d+: not XML: mismatched tag"):
        read(write(tmp_path / "a.tmx", [TMX.replace("</body>", "")]), tmp_path, text_column="en")
    with pytest.raises(UserError, match="no translation unit"):
        read(write(tmp_path / "a.tmx", ["<tmx></tmx>"]), tmp_path, text_column="en")


def test_half_pairs_are_left_out_and_a_split_without_translations_is(tmp_path):
    rows = [*({"source": a, "target": b} for a, b in PAIRS), {"source": "alone"}, {"source": "x", "target": " "}]
    write(tmp_path / "train.jsonl", list(map(json.dumps, rows)))
    write(tmp_path / "test.jsonl", [json.dumps({"source": a}) for a, _ in PAIRS])
    loaded = load(sources.resolve(Data(str(tmp_path)), "translation"), Translation.columns, tmp_path)
    assert loaded.splits["train"]["target"] == [b for _, b in PAIRS]
    assert (loaded.empty, loaded.unlabelled) == ({"train": [4, 5]}, ["test"])


def test_texts_to_translate_need_no_translations(tmp_path):
    file = write(tmp_path / "a.jsonl", [json.dumps({"translation": {"en": a, "de": b}}) for a, b in PAIRS])
    for trained in (Data("x", text_column="de"), Data("x", target_column="en")):
        found = new_rows.read(sources.resolve(Data(str(file))), Translation(), trained)
        assert [row.content for row in found] == [b for _, b in PAIRS]


def test_the_message_catalogues_of_a_language_are_a_sample(tmp_path):
    rows = read(Path("sample:plone_he"), tmp_path)["train"]
    assert len(rows) > 1000
    assert all(text and target for text, target in rows)
    assert not any("label_" in text for text, _ in rows[:100])
    placeholders = [(text, target) for text, target in rows if "${" in text]
    assert sum("${" in target for _, target in placeholders) / len(placeholders) > 0.9
    back = read(Path("sample:plone_he"), tmp_path, target_column="en")["train"]
    assert sorted(back) == sorted((target, text) for text, target in rows)


def test_a_message_that_is_a_guess_or_has_no_english_text_is_left_out(tmp_path):
    (folder := tmp_path / "de/LC_MESSAGES").mkdir(parents=True)
    write(
        folder / "a.po",
        [
            *('msgid ""', 'msgstr "Language: de\\n"', "", '#. Default: "Two \\"lines\\""', 'msgid "two_lines"'),
            *('msgstr ""', '"Zwei\\n"', '"${count} Zeilen"', "", "#, fuzzy", 'msgid "Save"', 'msgstr "Retten"', ""),
            *('msgid "label_save"', 'msgstr "Sichern"', "", 'msgid "Open"', 'msgstr ""', "", '#~ msgid "Old"'),
        ],
    )
    assert list(catalogues.read(folder, Data("x"), [])) == [
        (5, {"en": 'Two "lines"', "de": "Zwei ${count} Zeilen"}),
    ]
