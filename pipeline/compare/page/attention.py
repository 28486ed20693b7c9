"""What models attend to while they translate: for a few rows, a heat map of each model that attends."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.compare.page.figures import Figures
from pipeline.compare.page.html import Html, Td, cell, cut, details, heat, join, paragraphs, table, tag, user
from pipeline.compare.page.row_views import TranslationRows
from pipeline.compare.page.slices import UNSPACED
from pipeline.compare.page.view import Answers, Entry, View
from pipeline.errors import listing

MOST_ROWS, MOST_MAPS = 8, 40
LEAST = 0.05  # smaller shares are left blank
LONGEST, LONGEST_SOURCE = 24, 90  # characters of a word, and of the text above the maps of a row
NAMED = 3  # words in the table of what a token attends to most
BLANK = "␣"
SPECIAL = re.compile(r"\s*(<[^<>\s]+>|\[[A-Z]+\])")


@dataclass(frozen=True)
class Piece:
    """A token, or several that are one character, with their numbers.

    Attributes:
        begins: whether a word begins with it: what stands between blanks, or a character of a script without blanks.
        continues: whether it stands within a run of letters and digits.
    """

    text: str
    tokens: list[int]
    begins: bool
    continues: bool

    @property
    def shown(self) -> str:
        """Its text, with an ellipsis in front of the rest of a word."""
        return "…" * self.continues + (self.text.strip() or BLANK)


def pieces(tokens: Sequence[str]) -> list[Piece]:
    """The pieces of a text. A token within a character is empty, see `translating.attended`, and belongs to the next
    one."""
    found: list[Piece] = []
    pending: list[int] = []
    for number, text in enumerate(tokens):
        pending.append(number)
        if not text and number + 1 < len(tokens):
            continue
        before = found[-1].text if found else " "
        is_apart = any(SPECIAL.fullmatch(side) or UNSPACED.search(side) for side in (before, text))
        begins = is_apart or not found or text[:1].isspace()
        found.append(Piece(text, pending, begins, not begins and _is_letter(before[-1:]) and _is_letter(text[:1])))
        pending = []
    return found


def _is_letter(character: str) -> bool:
    return bool(character) and unicodedata.category(character)[0] in "LMN"


def words(found: Sequence[Piece]) -> list[Piece]:
    """Pieces joined to words."""
    joined: list[Piece] = []
    for piece in found:
        if piece.begins:
            joined.append(piece)
        else:
            joined[-1] = Piece(joined[-1].text + piece.text, [*joined[-1].tokens, *piece.tokens], True, False)
    return joined


def shares(weights: np.ndarray, rows: Sequence[Piece], columns: Sequence[Piece]) -> np.ndarray:
    """(R, C) how much each of `rows` attends to each of `columns`: weights (T, S) are added up over the source tokens
    of a column, and their mean is taken over the tokens of a row (Clark et al. 2019, section 4.1)."""
    summed = np.stack([weights[:, piece.tokens].sum(axis=1) for piece in columns], axis=1)
    return np.stack([summed[piece.tokens].mean(axis=0) for piece in rows])


def section(view: View, figures: Figures) -> Html | None:
    """Left out unless a model has kept what it attends to."""
    if view.kind != "translation":
        return None
    first = {entry.key: view.first(entry) for entry in view.entries}
    kept = {key: own.values("attention") for key, own in first.items() if own.has("attention")}
    shown = [entry for entry in view.entries if entry.key in kept]
    limit = max(1, min(MOST_ROWS, MOST_MAPS // max(1, len(shown))))
    rows = sorted({row for own in kept.values() for row, found in enumerate(own) if found})[:limit]
    if not rows:
        return None
    return join([_said(view, shown), *(_row(view, shown, first, kept, row, row == rows[0]) for row in rows)])


def _said(view: View, shown: Sequence[Entry]) -> Html:
    others = [entry.key for entry in view.entries if entry not in shown]
    without = f" No attention was kept for {listing(others)}." if others else ""
    seeds = " Of several seeds, the first is shown." * view.several_seeds
    return paragraphs(
        "Each row is a token that the model has written, each column a word of the source, and the number how much the"
        f" token attends to the word, in percent; less than {100 * LEAST:.0f} is left blank. For a transformer, it is"
        f" the mean over the heads of the last decoder layer. The tokens of a word are added up.{without}{seeds}",
        "The rows are the first short ones of the split. What a model attends to need not be the reason for what it"
        " writes.",
    )


def _row(
    view: View, shown: Sequence[Entry], first: dict[str, Answers], kept: dict[str, list[Any]], row: int, is_open: bool
) -> Html:
    here = [entry for entry in shown if kept[entry.key][row]]
    read = {
        entry.key: first[entry.key].table.select(TranslationRows.columns).slice(row, 1).to_pylist()[0] for entry in here
    }
    lines = TranslationRows(view).item([(entry, read[entry.key]) for entry in here])
    maps = [tag("div", tag("p", entry.title()), _map(kept[entry.key][row]), class_="panel") for entry in here]
    source = read[here[0].key]["text"]
    return details(user(cut(source, LONGEST_SOURCE)), lines, tag("div", *maps, class_="panels"), open_=is_open)


def _map(attention: dict[str, Any]) -> Html:
    """The heat map as a table, and the words that each token attends to most as another."""
    rows, columns = pieces(attention["target"]), words(pieces(attention["source"]))
    found = shares(np.array(attention["weights"]), rows, columns)
    is_from_right = _is_from_right("".join(attention["source"]))
    corner = tag("small", f"written ↓\nsource {'←' if is_from_right else '→'}")
    header = [corner, *(tag("span", user(cut(word.shown, LONGEST))) for word in columns)]
    body = [[user(piece.shown), *map(_cell, own)] for piece, own in zip(rows, found, strict=True)]
    named = [[user(piece.shown), _most(own, columns)] for piece, own in zip(rows, found, strict=True)]
    return join(
        [
            table(header, body, class_="map", dir_="rtl" if is_from_right else "ltr"),
            details(
                "Data of this picture", table(["token", "attends most to"], named, class_="settings"), class_="data"
            ),
        ]
    )


def _cell(share: float) -> Td:
    return heat(f"{100 * share:.0f}", share) if share >= LEAST else cell("")


def _most(own: np.ndarray, columns: Sequence[Piece]) -> Html:
    """The words with the largest shares."""
    order = [place for place in np.argsort(-own, kind="stable")[:NAMED] if own[place] >= LEAST]
    return join(
        (
            join([user(cut(columns[place].shown, LONGEST)), f" {100 * own[place]:.0f}\N{NO-BREAK SPACE}%"])
            for place in order
        ),
        ", ",
    )


def _is_from_right(text: str) -> bool:
    """Whether the first letter with a direction is one of right-to-left writing, as for `dir="auto"`."""
    kinds = map(unicodedata.bidirectional, text)
    return next((kind for kind in kinds if kind in ("L", "R", "AL")), "L") != "L"
