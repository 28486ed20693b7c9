"""The page of a demo in Chromium: answers side by side, in the direction of the text, at two widths and in the dark."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import small_runs
from conftest import ROOT

pytestmark = pytest.mark.browser
WIDTHS = (390, 1280)


class Page:
    """The page of `finetune demo` in a process of its own."""

    def __init__(self, *runs: str):
        call = [sys.executable, "-m", "pipeline", "demo", *runs, "--port", "0"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line + self.process.stderr.read()
        self.url = found[0]

    def stop(self) -> str:
        """Ends it as Ctrl-C does; returns what it has printed to stderr."""
        self.process.send_signal(signal.SIGINT)
        errors = self.process.communicate(timeout=30)[1]
        assert self.process.returncode == 0
        return errors


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def names(folder) -> Iterator[Page]:
    sizes = {"small": 8, "גדול": 16}
    page = Page(*(small_runs.make(folder, "ner", name, epochs=20, hidden_size=sizes[name]) for name in sizes))
    yield page
    assert page.stop() == ""


@pytest.fixture(scope="module")
def words(folder) -> Iterator[Page]:
    page = Page(*(small_runs.make(folder, "next_word", name, epochs=n) for n, name in ((1, "short"), (8, "long"))))
    yield page
    assert page.stop() == ""


def asked(browser, page: Page, text: str, **options):
    """The page with the answers to `text`; whatever is wrong goes to the list that is returned with it."""
    wrong: list[str] = []
    tab = browser.new_page(**options)
    tab.on("console", lambda message: wrong.append(message.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    own = (page.url, "data:")
    tab.on("request", lambda request: None if request.url.startswith(own) else wrong.append(request.url))
    tab.goto(page.url)
    tab.get_by_label("Text", exact=True).fill(text)
    tab.get_by_role("button", name="Answer").click()
    tab.wait_for_function("document.querySelectorAll('.cards article:not([aria-busy])').length == 2")
    return tab, wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_entities_of_a_text_from_right_to_left_are_marked_in_its_direction(width, scheme, browser, names):
    viewport = {"width": width, "height": 800}
    tab, wrong = asked(browser, names, small_runs.HEBREW, viewport=viewport, color_scheme=scheme)
    cards = tab.locator(".cards article")
    assert cards.locator("h2").all_inner_texts() == ["small", "גדול"]
    marks = cards.nth(1).locator("mark")
    assert [text.split()[0] for text in marks.all_inner_texts()] == ["דנה", "בתל", "Ann"]
    boxes = [mark.bounding_box() for mark in marks.all()]
    assert boxes[0]["x"] > boxes[1]["x"]  # what comes first stands on the right
    assert tab.locator(".marked").first.evaluate("(all) => getComputedStyle(all).direction") == "rtl"
    assert tab.get_by_label("Text", exact=True).evaluate("(all) => getComputedStyle(all).unicodeBidi") == "plaintext"
    tops = [card.bounding_box() for card in cards.all()]
    assert (tops[0]["y"] == tops[1]["y"]) == (width == max(WIDTHS))  # side by side where there is room
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert wrong == []
    tab.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_next_words_are_bars_as_long_as_their_probabilities(width, browser, words):
    tab, wrong = asked(browser, words, "the cat sat on", viewport={"width": width, "height": 800})
    for card in tab.locator(".cards article").all():
        shares = [float(share) for share in card.locator(".share").all_inner_texts()]
        lengths = [bar.bounding_box()["width"] for bar in card.locator(".bar").all()]
        room = card.locator("li").first.bounding_box()["width"]
        assert len(shares) == 5
        assert lengths == pytest.approx([max(share * room, 2) for share in shares], abs=2)
        assert re.fullmatch(r"[\d.,]+ ms", card.locator(".time").first.inner_text())
    assert wrong == []
    tab.close()


def test_a_text_without_words_is_answered_as_well_and_an_attack_is_text(browser, words):
    for text in ("", "<img src=x onerror=document.title='attacked'>"):
        tab, wrong = asked(browser, words, text)
        assert tab.title() == "short, long"
        assert wrong == []
        tab.close()
