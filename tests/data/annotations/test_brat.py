"""brat's folders: texts with their spans, and what is ignored, left out or refused."""

from __future__ import annotations

import pytest
from annotation_rows import sentence

from pipeline.config.data import Data
from pipeline.data import sources
from pipeline.data.annotations import brat
from pipeline.errors import UserError
from pipeline.tasks.ner import Ner


def folder(tmp_path, **files):
    for name, content in files.items():
        file = tmp_path / name.replace("_", ".")
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(content, encoding="utf-8", newline="")
    return tmp_path


def read(path, **settings):
    warnings = []
    found = list(brat.read(path, Data(str(path), **settings), warnings))
    return [sentence(row) for _, row in found], warnings


TEXT = "Ann left\nRome .\n"
SPANS = "T1\tPER 0 3\tAnn\nT2\tLOC 9 13\tRome\n"


def test_texts_are_read_in_order_with_their_spans(tmp_path):
    path = folder(tmp_path, a10_txt="So", a10_ann="", a2_txt=TEXT, a2_ann=SPANS)
    assert read(path) == (["Ann/B-PER left Rome/B-LOC .", "So"], [])


def test_hidden_files_are_left_out(tmp_path):
    (tmp_path / ".checkpoints").mkdir()
    for name in (".checkpoints/a", "._a"):
        (tmp_path / f"{name}.ann").write_text("\0")
    assert read(folder(tmp_path, a_txt=TEXT, a_ann=SPANS)) == (["Ann/B-PER left Rome/B-LOC ."], [])


def test_only_the_ends_of_lines_end_an_annotation(tmp_path):
    path = folder(tmp_path, a_txt="Ann\u2028Lee left", a_ann="T1\tPER 0 7\tAnn\u2028Lee\n")
    assert read(path)[0] == ["Ann/B-PER Lee/I-PER left"]


def test_what_is_no_span_is_ignored(tmp_path):
    notes = (
        "R1\tIn Arg1:T1 Arg2:T2\nA1\tOld T1\n#1\tAnnotatorNotes T1\tsure?\nE1\tGo:T2\n*\tEquiv T1 T2\n"
        "N1\tReference T1 Wiki:1\tAnn\n"
    )
    assert read(folder(tmp_path, a_txt=TEXT, a_ann=notes + SPANS)) == (["Ann/B-PER left Rome/B-LOC ."], [])


def test_a_span_in_pieces_is_left_out_unless_only_blanks_are_between_them(tmp_path):
    found, warnings = read(folder(tmp_path, a_txt=TEXT, a_ann="T1\tX 0 3;9 13\tAnn Rome\nT2\tY 4 8;9 13\tleft Rome\n"))
    assert found == ["Ann left/B-Y Rome/I-Y ."]
    assert warnings == [f"{tmp_path}: 1 spans in several pieces were left out ({tmp_path}/a.ann:1 Ann Rome)"]


def test_line_ends_that_were_converted_do_not_shift_the_spans(tmp_path):
    path = folder(tmp_path, a_txt=TEXT.replace("\n", "\r\n"), a_ann=SPANS.replace("\n", "\r\n"))
    found, warnings = read(path)
    assert found == ["Ann/B-PER left Rome/B-LOC ."]
    assert "each line end being one" in warnings[0]


def test_texts_without_annotations_are_left_out_and_counted(tmp_path):
    found, warnings = read(folder(tmp_path, a_txt=TEXT, a_ann=SPANS, b_txt="x"))
    assert len(found) == 1
    assert warnings == [f"{tmp_path}: 1 texts without an .ann file were left out (b.txt)"]


def test_missing_texts_and_malformed_lines_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"annotations without their texts; add a.txt, or remove"):
        read(folder(tmp_path / "1", a_ann=SPANS))
    with pytest.raises(UserError, match=r"a.ann:2: 'T2 LOC 9 13 Rome' is no span"):
        read(folder(tmp_path / "2", a_txt=TEXT, a_ann="T1\tPER 0 3\tAnn\nT2 LOC 9 13 Rome\n"))
    with pytest.raises(UserError, match=r"no .txt file has an .ann file"):
        read(folder(tmp_path / "3", a_txt=TEXT))
    with pytest.raises(UserError, match=r"covers 'left', but its text is 'Rome'"):
        read(folder(tmp_path / "4", a_txt=TEXT, a_ann="T2\tLOC 4 8\tRome\n"))


def test_folders_in_the_folder_are_read(tmp_path):
    folder(tmp_path / "all" / "one", a_txt=TEXT, a_ann=SPANS)
    folder(tmp_path / "all" / "two", b_txt="So", b_ann="")
    source = sources.locate(Data(str(tmp_path / "all")), "ner")
    assert len(sources.load(source, Ner.columns, tmp_path).splits["train"]) == 2


def test_a_folder_is_recognised_and_may_have_a_folder_for_each_split(tmp_path):
    folder(tmp_path / "train", a_txt=TEXT, a_ann=SPANS)
    folder(tmp_path / "dev", b_txt="So", b_ann="")
    source = sources.locate(Data(str(tmp_path)), "ner")
    (tmp_path / "work").mkdir()
    loaded = sources.load(source, Ner.columns, tmp_path / "work")
    assert {split: len(rows) for split, rows in loaded.splits.items()} == {"train": 1, "validation": 1}
    before = source.fingerprint
    (tmp_path / "train" / "a.ann").write_text("")
    assert sources.locate(Data(str(tmp_path)), "ner").fingerprint != before
    single = sources.locate(Data(str(tmp_path / "train")), "ner")
    assert list(single.parts) == ["train"]
