"""The page of a comparison as a file: what is in it, and that it needs and reveals nothing else."""

from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path

import pytest
import run_folders
import verdicts

from pipeline.compare import judging, page
from pipeline.compare.page import figures as drawing_style
from pipeline.compare.verdict import Verdict
from pipeline.errors import UserError

SECTIONS = {
    "classes": {"Confusion", "Calibration", "Length and rare words", "Labels", "Disagreement"},
    "several_labels": {"Calibration", "Length and rare words", "Labels", "Disagreement"},
    "numbers": {"Predicted numbers", "Length and rare words", "Disagreement"},
    "entities": {"Kinds of errors", "Length and rare words", "Labels", "Disagreement"},
    "next_words": {"Length and rare words", "Disagreement"},
    "translations": {"Length and rare words", "Disagreement", "Attention"},
}
ALWAYS = {"Verdict", "Ranking", "Quality and cost", "Learning curves", "Settings, data and machines"}
VOID = {"meta", "link", "br", "input", "col"}
NASTY = [
    "<script>alert('x')</script> & \"quotes\"",
    "</style></script><img src=x onerror=alert(1)>",
    "שלום עולם, הסרט טוב",
    "x" * 3000,
    "👩‍👩‍👧‍👦 🇮🇱 \x00\x07 \u202e backwards",
]


class Checker(html.parser.HTMLParser):
    """Collects ids, headings and references, and fails where an element is not closed."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.references: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self._seen(name, attributes)
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self._seen(name, attributes)

    def _seen(self, name, attributes):
        found = dict(attributes)
        self.tags.append(name)
        self.ids += [found["id"]] if "id" in found else []
        self.headings += [int(name[1])] if re.fullmatch("h[1-6]", name) else []
        self.references += [found[key] for key in ("src", "href", "xlink:href") if key in found]
        self.references += [key for key in found if key.startswith("on")]

    def handle_endtag(self, name):
        assert self.open.pop() == name


def folders(where: Path, kind: str, count: int = 2, **options) -> list[Path]:
    return [
        run_folders.write_run(where / f"run-{n}", kind, skill=0.9 - 0.1 * n, hidden_size=8 + n, **options)
        for n in range(count)
    ]


def written(where: Path, verdict: Verdict) -> str:
    page.write(where / "page.html", verdict)
    return (where / "page.html").read_text(encoding="utf-8")


def with_texts(folder: Path, texts: list[str], *columns: str) -> None:
    """Replace the first texts of a run's test rows, in these columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = folder / "predictions/test.parquet"
    table = pq.read_table(file)
    for column in columns or ("text",):
        own = texts + table[column].to_pylist()[len(texts) :]
        table = table.set_column(table.column_names.index(column), column, pa.array(own))
    pq.write_table(table, file)


@pytest.mark.parametrize("kind", SECTIONS)
def test_a_page_has_the_sections_that_apply_to_its_task(kind, tmp_path):
    text = written(tmp_path, verdicts.a_verdict(folders(tmp_path, kind, rows=60)))
    assert set(re.findall("<h2>(.*?)</h2>", text)) == ALWAYS | SECTIONS[kind]


@pytest.mark.parametrize("kind", SECTIONS)
def test_a_page_is_well_formed_and_refers_to_nothing_outside(kind, tmp_path):
    text = written(tmp_path, verdicts.a_verdict(folders(tmp_path, kind, rows=60)))
    found = Checker(text)
    assert len(set(found.ids)) == len(found.ids)
    assert {reference[0] for reference in found.references} <= {"#", "d"}
    assert all(reference == "data:," or reference[1:] in found.ids for reference in found.references)
    assert found.headings[0] == 1
    assert all(after - before <= 1 for before, after in zip(found.headings, found.headings[1:], strict=False))
    assert "http" not in re.sub(r'http-equiv="', "", text)
    assert set(re.findall(r"url\((?:#)?(.)", text)) <= {"f"}
    assert re.search(r'<html lang="en">', text)


def test_every_picture_has_a_title_a_description_and_its_data(tmp_path):
    text = written(tmp_path, verdicts.a_verdict(folders(tmp_path, "classes", rows=60)))
    pictures = re.findall("<figure>(.*?)</figure>", text, re.DOTALL)
    assert len(pictures) > 8
    for picture in pictures:
        assert re.search(r'<svg [^>]*role="img"', picture)
        assert re.search(r"<title [^>]*>\S", picture)
        assert re.search(r"<desc [^>]*>\S", picture)
        assert "<details" in picture
        assert "<td>" in picture


def test_the_same_runs_give_the_same_bytes(tmp_path):
    verdict = verdicts.a_verdict(folders(tmp_path, "classes", rows=60))
    assert written(tmp_path, verdict) == written(tmp_path, verdict)


def test_a_user_s_own_style_of_matplotlib_changes_nothing_and_stays(tmp_path):
    import matplotlib

    verdict = verdicts.a_verdict(folders(tmp_path, "classes", rows=60))
    plain = written(tmp_path, verdict)
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False, "svg.hashsalt": None}):
        assert written(tmp_path, verdict) == plain
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize("kind", ["classes", "several_labels", "numbers"])
def test_texts_of_the_user_are_shown_and_never_run(kind, tmp_path):
    runs = folders(tmp_path, kind, rows=60, labels=("<b>bad</b>", "good & 'fine'"))
    for run in runs:
        with_texts(run, NASTY * 12)
    text = written(tmp_path, verdicts.a_verdict(runs))
    found = Checker(text)
    assert found.tags.count("script") == 1
    assert not {"img", "b"} & set(found.tags)
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; &quot;quotes&quot;" in text
    assert "שלום עולם" in text
    assert not re.search("[\x00-\x08]", text)
    assert len(text) < 600_000  # a text of 3,000 letters is cut


def test_words_of_a_sentence_are_escaped_and_its_entities_keep_their_direction(tmp_path):
    runs = folders(tmp_path, "entities", rows=60, labels=("<i>PER</i>", "LOC"))
    text = written(tmp_path, verdicts.a_verdict(runs))
    assert "<i>PER" not in text
    assert re.search(r'<mark dir="auto"[^>]*>[^<]+<small><bdi dir="auto">&lt;i&gt;PER', text)


def test_translations_are_escaped_and_each_text_has_its_own_direction(tmp_path):
    runs = folders(tmp_path, "translations", rows=60)
    for number, run in enumerate(runs):
        with_texts(run, NASTY, "text", "target")
        with_texts(run, [*NASTY[number:], " ", ""][: len(NASTY)], "hypothesis")
    text = written(tmp_path, verdicts.a_verdict(runs))
    found = Checker(text)
    assert found.tags.count("script") == 1
    assert "img" not in found.tags
    rows = re.findall('<div class="lines">(.*?)</div>', text)
    assert len(rows) > 40
    for row in rows:
        lines = re.findall("<p .*?</p>", row)
        assert len(lines) == 4
        assert re.search(">source</span>.*>reference</span>", row)
        assert all('<span dir="auto" class="sentence">' in line or ">empty</i>" in line for line in lines)
    assert '<span dir="auto" class="sentence">שלום עולם' in text
    assert '<i class="sentence">empty</i>' in text


def test_chrf_and_bleu_of_translations_are_ranked_costed_drawn_and_cut_by_length(tmp_path):
    text = written(tmp_path, verdicts.a_verdict(folders(tmp_path, "translations", rows=60)))
    parts = {body.partition("</h2>")[0]: body for body in text.split("<h2>")[1:]}
    captions = {name: re.findall("<figcaption[^>]*>(.*?)</figcaption>", part) for name, part in parts.items()}
    for name in ("Ranking", "Quality and cost"):
        assert re.search(r'<th scope="col">chrF.*?<th scope="col">BLEU', parts[name])
    assert captions["Learning curves"] == [
        *("Loss in training", "Loss in validation", "chrF in validation", "BLEU in validation")
    ]
    assert captions["Length and rare words"] == [
        *("chrF by length", "BLEU by length", "chrF by rare words", "BLEU by rare words")
    ]
    assert "words in the source" in parts["Length and rare words"]


def test_no_two_pictures_share_an_id_and_no_colour_of_a_picture_is_fixed(tmp_path):
    text = written(tmp_path, verdicts.a_verdict(folders(tmp_path, "classes", 3, rows=60)))
    pictures = re.findall("<svg .*?</svg>", text, re.DOTALL)
    assert not [colour for picture in pictures for colour in re.findall("(?:fill|stroke): #[0-9a-f]+", picture)]
    assert all("<style" not in picture and "font-family" not in picture for picture in pictures)


def test_runs_without_rows_have_a_page_without_the_sections_about_rows(tmp_path):
    verdict = verdicts.a_verdict(folders(tmp_path, "classes", rows=60))
    bare = Verdict(verdict.task, verdict.problem_type, "test", 0, verdict.scores, verdict.contenders, verdict.estimates)
    text = written(tmp_path, bare)
    assert set(re.findall("<h2>(.*?)</h2>", text)) == ALWAYS


@pytest.mark.parametrize("kind", SECTIONS)
def test_a_run_without_rows_is_on_the_page_but_not_in_the_sections_about_rows(kind, tmp_path):
    runs = folders(tmp_path, kind, 3, rows=60)
    (runs[0] / "predictions" / "test.parquet").unlink()
    text = written(tmp_path, judging.judge(runs))
    assert set(re.findall("<h2>(.*?)</h2>", text)) == ALWAYS | SECTIONS[kind]
    parts = {body.partition("</h2>")[0]: body for body in text.split("<h2>")[1:]}
    assert [name for name in SECTIONS[kind] if runs[0].name in parts[name]] == []
    assert runs[0].name in parts["Ranking"]


def test_a_single_run_has_a_page(tmp_path):
    text = written(tmp_path, verdicts.a_verdict(folders(tmp_path, "classes", 1, rows=60)))
    assert "Disagreement" not in text
    assert "Calibration" in text


def test_seeds_of_a_contender_share_a_row(tmp_path):
    runs = [run_folders.write_run(tmp_path / f"seed-{seed}", seed=seed, rows=60) for seed in range(2)]
    runs.append(run_folders.write_run(tmp_path / "other", hidden_size=16, skill=0.6, rows=60))
    text = written(tmp_path, verdicts.a_verdict(runs))
    assert "Counts of several seeds are added up" in text
    assert text.count('<tr><th scope="row"><span class="entry">') > 4


def test_an_old_run_without_a_history_or_the_speed_of_answering_has_a_page_that_says_so(tmp_path):
    runs = folders(tmp_path, "classes", rows=60)
    for run in runs:
        (run / "history.jsonl").unlink()
    metrics = json.loads((runs[0] / "metrics.json").read_text())
    del metrics["train"]["answering"]
    (runs[0] / "metrics.json").write_text(json.dumps(metrics))
    text = written(tmp_path, verdicts.a_verdict(runs))
    assert "Learning curves" not in text
    assert "The speed of answering was not measured in A" in text


def test_a_page_that_cannot_be_written_is_the_user_s_mistake(tmp_path):
    verdict = verdicts.a_verdict(folders(tmp_path, "classes", rows=60))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--html"):
        page.write(tmp_path / "file" / "page.html", verdict)


def test_a_class_that_the_data_does_not_hold_leaves_its_score_open(tmp_path):
    text = written(
        tmp_path, verdicts.a_verdict(folders(tmp_path, "classes", rows=60, labels=tuple("abcdefghijklmnop")))
    )
    assert "The most frequent confusions" in text
    assert "nan" not in re.sub("[a-z]nan|nan[a-z]", "", text)


def test_pictures_use_no_state_of_pyplot(tmp_path):
    import sys

    assert "matplotlib.pyplot" not in Path(drawing_style.__file__).read_text(encoding="utf-8")
    written(tmp_path, verdicts.a_verdict(folders(tmp_path, "classes", rows=60)))
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
