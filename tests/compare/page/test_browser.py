"""The page in Chromium: without errors and network, at the width of a phone and of a desktop, dark, and printed."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import run_folders
import verdicts

from pipeline.compare import page

pytestmark = pytest.mark.browser
WIDTHS = (390, 1280)
LONG = "ein" + "wort" * 80
RTL = "הסרט הזה טוב מאוד"
SIDES = ("text", "target", "hypothesis")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """A page of each kind of answers, with a long word and a text from right to left."""
    made = {}
    for kind in run_folders.KINDS:
        folder = tmp_path_factory.mktemp(kind)
        runs = [
            run_folders.write_run(folder / name, kind, skill=skill, hidden_size=size, rows=80)
            for name, skill, size in (("bert", 0.9, 64), (f"bilstm-{LONG}"[:120], 0.7, 8), ("gru-שלום", 0.6, 16))
        ]
        made[kind] = folder / "page.html"
        page.write(made[kind], verdicts.a_verdict(runs))
    return made


def opened(browser, file: Path, **options):
    """The page in the browser; whatever is wrong goes to the list that is returned with it."""
    wrong: list[str] = []
    tab = browser.new_page(**options)
    tab.on("console", lambda message: wrong.append(message.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("request", lambda request: wrong.append(request.url) if request.url != file.as_uri() else None)
    tab.goto(file.as_uri())
    return tab, wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", run_folders.KINDS)
def test_a_page_opens_without_errors_or_requests_and_fits_the_width(kind, width, scheme, browser, files):
    tab, wrong = opened(browser, files[kind], viewport={"width": width, "height": 800}, color_scheme=scheme)
    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert wrong == []
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.locator("h1").inner_text().endswith("3 models compared")
    assert tab.locator("h2").count() >= 7
    tab.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_no_text_of_a_picture_is_cut_off_or_too_small_to_read(width, browser, files):
    for kind in run_folders.KINDS:
        tab, _ = opened(browser, files[kind], viewport={"width": width, "height": 800})
        found = tab.evaluate(
            """[...document.querySelectorAll("figure svg")].filter((svg) => svg.checkVisibility()).flatMap((svg) => {
              const box = svg.getBoundingClientRect();
              return [...svg.querySelectorAll("text")].map((text) => {
                const own = text.getBoundingClientRect();
                const inside = own.left >= box.left - 2 && own.right <= box.right + 2
                  && own.top >= box.top - 2 && own.bottom <= box.bottom + 2;
                return [text.textContent, inside, own.height];
              });
            })"""
        )
        assert [text for text, inside, _ in found if not inside] == []
        assert min(height for _, _, height in found) > 9
        tab.close()


def test_the_search_shows_the_rows_that_hold_all_words(browser, files):
    tab, wrong = opened(browser, files["classes"])
    rows = tab.locator("ol.rows > li")
    texts = rows.all_inner_texts()
    assert tab.locator("form.controls").is_visible()
    tab.locator("#search").fill("CAFÉ  london")
    shown = tab.locator("ol.rows > li:not([hidden])").all_text_contents()
    assert 0 < len(shown) < len(texts)
    assert all("café" in text.lower() and "london" in text.lower() for text in shown)
    assert tab.locator("#found").inner_text() == f"{len(shown)} of {len(texts)} rows"
    tab.locator("#search").fill("")
    tab.locator("#choice").select_option("first")
    assert set(
        tab.locator("ol.rows > li:not([hidden])").evaluate_all("(all) => all.map((li) => li.dataset.right)")
    ) == {"first"}
    tab.locator("#choice").select_option("")
    assert tab.locator("ol.rows > li[hidden]").count() == 0
    assert wrong == []
    tab.close()


def test_without_script_all_rows_are_there_and_no_control_that_does_nothing(browser, files):
    tab = browser.new_page(java_script_enabled=False)
    tab.goto(files["classes"].as_uri())
    assert not tab.locator("form.controls").is_visible()
    assert tab.locator("ol.rows > li").count() > 10
    tab.close()


def test_text_reads_in_its_own_direction(browser, files):
    tab, _ = opened(browser, files["classes"])
    name = tab.locator(".legend bdi", has_text="gru-שלום").first
    assert name.get_attribute("dir") == "auto"
    tab.evaluate(f"document.querySelector('ol.rows .text').textContent = '{RTL}'")
    assert tab.evaluate("getComputedStyle(document.querySelector('ol.rows .text')).direction") == "rtl"
    tab.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_translations_stand_below_each_other_each_in_its_own_direction(width, browser, tmp_path):
    runs = [
        run_folders.write_run(tmp_path / name, "translations", skill=skill, hidden_size=size, rows=40)
        for name, skill, size in (("attention", 0.9, 64), ("plain", 0.6, 8))
    ]
    for run in runs:
        rows = run / "predictions/test.parquet"
        table = pq.read_table(rows)
        hebrew = {name: pa.array([f"{RTL} {text}" for text in table[name].to_pylist()]) for name in SIDES[1:]}
        english = pa.array([f"This {LONG} film: {text}" for text in table["text"].to_pylist()])
        for name, column in {"text": english, **hebrew}.items():
            table = table.set_column(table.column_names.index(name), name, column)
        pq.write_table(table, rows)
    page.write(tmp_path / "page.html", verdicts.a_verdict(runs))
    tab, wrong = opened(browser, tmp_path / "page.html", viewport={"width": width, "height": 800})
    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    row = tab.locator("ol.rows > li").first
    assert row.locator(".who").all_inner_texts()[:2] == ["source", "reference"]
    lines = row.locator(".sentence")
    directions = lines.evaluate_all("(all) => all.map((one) => getComputedStyle(one).direction)")
    assert directions == ["ltr", "rtl", "rtl", "rtl"]
    boxes = [lines.nth(place).bounding_box() for place in range(4)]
    assert all(above["y"] + above["height"] <= below["y"] + 1 for above, below in itertools.pairwise(boxes))
    assert len({(round(box["x"]), round(box["width"])) for box in boxes}) == 1
    pieces = """(one) => {
      const range = document.createRange();
      range.selectNodeContents(one);
      return range.getClientRects().length;
    }"""
    assert row.locator(".who").nth(1).evaluate(pieces) == 1  # "reference" is not broken
    tab.locator("#search").fill("הזה טוב")
    assert tab.locator("ol.rows > li:not([hidden])").count() == tab.locator("ol.rows > li").count() > 10
    tab.locator("#search").fill("nothing of the kind")
    assert tab.locator("ol.rows > li:not([hidden])").count() == 0
    assert wrong == []
    tab.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_map_of_attention_runs_as_its_source_and_keeps_its_tokens_in_sight(width, browser, tmp_path):
    run = run_folders.write_run(tmp_path / "a", "translations", rows=20)
    file = run / "predictions/test.parquet"
    table = pq.read_table(file)
    luck = np.random.default_rng(0)
    sides = [run_folders.pieces(f"{RTL} " * 4), run_folders.pieces("this film is good")]
    kept = [run_folders.attention(*sides, luck), run_folders.attention(*sides[::-1], luck)]
    place = table.column_names.index("attention")
    kept += [None] * (table.num_rows - len(kept))
    pq.write_table(table.set_column(place, "attention", pa.array(kept, table.schema.field(place).type)), file)
    page.write(tmp_path / "page.html", verdicts.a_verdict([run]))
    tab, wrong = opened(browser, tmp_path / "page.html", viewport={"width": width, "height": 800})
    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    from_right, from_left = (tab.locator("table.map").nth(number) for number in range(2))
    for one, sign in ((from_right, -1), (from_left, 1)):
        heads = one.locator("thead th")
        places = [sign * heads.nth(number).bounding_box()["x"] for number in (0, 1, -1)]
        assert places == sorted(places)
    box, head = from_right.locator(".."), from_right.locator("tbody th").first
    before = head.bounding_box()["x"]
    assert box.evaluate("(one) => one.scrollWidth > one.clientWidth") == (width == min(WIDTHS))
    box.evaluate("(one) => { one.scrollLeft = -one.scrollWidth; }")
    assert head.bounding_box()["x"] == pytest.approx(before, abs=1)
    assert wrong == []
    tab.close()


def test_text_has_enough_contrast_in_light_and_dark(browser, files):
    ratio = """(names) => {
      const level = (name) => {
        const probe = document.body.appendChild(document.createElement("i"));
        probe.style.color = `var(--${name})`;
        const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255);
        probe.remove();
        const [r, g, b] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const ground = level("surface");
      return names.map((name) => {
        const own = level(name);
        return (Math.max(own, ground) + 0.05) / (Math.min(own, ground) + 0.05);
      });
    }"""
    names = ["ink", "muted", "accent", "good", "bad", *(f"k{number}" for number in range(10))]
    for scheme in ("light", "dark"):
        tab, _ = opened(browser, files["classes"], color_scheme=scheme)
        assert [name for name, found in zip(names, tab.evaluate(ratio, names), strict=True) if found < 4.5] == []
        tab.close()


def test_a_page_can_be_printed(browser, files, tmp_path):
    for kind, file in files.items():
        tab, wrong = opened(browser, file, color_scheme="dark")
        printed = tab.pdf(path=tmp_path / f"{kind}.pdf")
        assert printed.startswith(b"%PDF")
        tab.emulate_media(media="print")
        assert not tab.locator("nav").first.is_visible()
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert wrong == []
        tab.close()
