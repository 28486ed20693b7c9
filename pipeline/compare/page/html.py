"""HTML as strings: whatever is not `Html` already is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

# Control characters that HTML does not allow.
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
EMPTY = {"input", "meta", "link", "br", "col"}


class Html(str):
    """Text that is HTML: it is not escaped again."""

    __slots__ = ()


def escape(text: object) -> Html:
    """`text` as HTML, safe between tags and in the quotes of an attribute."""
    if isinstance(text, Html):
        return text
    return Html(html.escape(FORBIDDEN.sub("\ufffd", str(text)), quote=True))


def join(parts: Iterable[object], between: str = "") -> Html:
    """All `parts` one after another, with the HTML `between` them."""
    return Html(between.join(map(escape, parts)))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element. Attributes: `class_` is `class`, `data_kind` is `data-kind`; None and False leave one out."""
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Html(f"<{name}{written}>" + ("" if name in EMPTY else f"{join(children)}</{name}>"))


def user(text: object, name: str = "bdi", class_: str | None = None) -> Html:
    """A text of the user's, of whichever direction: it does not disturb what stands around it."""
    return tag(name, text, dir="auto", class_=class_)


def paragraphs(*texts: object) -> Html:
    """Each of `texts` in a paragraph."""
    return join(tag("p", text) for text in texts)


def table(
    header: Sequence[object],
    rows: Iterable[Sequence[object]],
    caption: object = None,
    class_: str | None = None,
    dir_: str | None = None,
) -> Html:
    """A table in a box in which it scrolls. The first cell of each row is its heading.

    A cell may be a `Td`, which has attributes of its own.

    Args:
        dir_: `rtl` if the columns run from right to left.
    """
    head = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in header)))
    body = tag("tbody", *(tag("tr", tag("th", row[0], scope="row"), *map(_cell, row[1:])) for row in rows))
    top = tag("caption", caption) if caption is not None else ""
    # It can be reached and scrolled with the keyboard.
    return tag("div", tag("table", top, head, body, class_=class_), class_="scroll", dir_=dir_, tabindex="0")


def _cell(cell: object) -> Html:
    return cell if isinstance(cell, Td) else tag("td", cell)


class Td(Html):
    """A finished cell of a table."""

    __slots__ = ()


def cell(content: object, **attributes: object) -> Td:
    """A cell with attributes."""
    return Td(tag("td", content, **attributes))


def heat(content: object, share: float, **attributes: object) -> Td:
    """A cell whose background is the stronger the closer `share` is to 1."""
    return cell(content, class_="heat", style=f"--v:{min(max(share, 0.0), 1.0):.2f}", **attributes)


def details(summary: object, *content: object, open_: bool = False, class_: str | None = None) -> Html:
    """What is shown once its `summary` is chosen."""
    return tag("details", tag("summary", summary), *content, open=open_, class_=class_)


def number(value: float | None, digits: int = 3) -> str:
    """`value` with three decimals if it is small and fewer if it is large; a dash for None and for what is not one."""
    if value is None or value != value:
        return "–"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}".replace("-", "−")
    decimals = digits if size < 10 else max(digits - 2, 0) if size < 100 else max(digits - 2, 1)
    return f"{value:.{decimals}f}".replace("-", "−")


def short(value: float) -> str:
    """`value` with two or three digits and a unit of thousands, millions or billions: 1.2k, 34M."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit * 0.9995:
            return f"{value / unit:.3g}{letter}"
    return f"{value:.3g}"


def p_value(value: float | None) -> str:
    """A p-value with three decimals, or that it is below 0.001."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def cut(text: str, length: int) -> str:
    """`text`, cut at a blank after at most `length` characters."""
    if len(text) <= length:
        return text
    kept = text[:length]
    return (kept[: kept.rfind(" ")] if " " in kept[length // 2 :] else kept.rstrip("\u200d")) + " …"
