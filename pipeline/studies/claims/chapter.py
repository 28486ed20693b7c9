"""The sections as a chapter in Markdown, with pictures beside it, and as one page in HTML."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from pathlib import Path

from pipeline import storage
from pipeline.studies.claims.statements import Section, Statement

TITLE = "The course's claims, measured"
IMAGES = "images"
WIDTH = 120
STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; color: #1a1a1a;
  background: #fff; }
svg { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; }
th, td { border-bottom: 1px solid #ccc; padding: 0.3rem 0.6rem; text-align: start; vertical-align: top; }
.verdict { font-weight: bold; }
@media print { section { break-inside: avoid-page; } }
"""


def write_chapter(file: Path, sections: Sequence[Section], introduction: Sequence[str], command: str) -> None:
    """Write `file` and, beside it, a picture for each section.

    Args:
        introduction: paragraphs in Markdown.
        command: what measures everything; `--claims N` measures one claim.
    """
    (file.parent / IMAGES).mkdir(parents=True, exist_ok=True)
    for section in sections:
        storage.write(file.parent / _image(section), section.picture.svg)
    storage.write(file, markdown(sections, introduction, command))


def _image(section: Section) -> str:
    return f"{IMAGES}/course-{section.number}.svg"


def markdown(sections: Sequence[Section], introduction: Sequence[str], command: str) -> str:
    """The chapter."""
    parts = [f"# {TITLE}", *map(_wrapped, introduction), _table(_overview(sections))]
    for section in sections:
        parts += [
            f"## {section.number}. {section.title}",
            _wrapped(f"**Claim.** {section.claim}"),
            *map(_wrapped, section.method),
            f"`{command} --claims {section.number}`",
            f"![{_plain(section.picture.alt)}]({_image(section)})",
            _table(section.table),
            *map(_wrapped, section.remarks),
            _table(_statements(section.statements)),
            f"**Verdict: {section.result}.**",
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _wrapped(paragraph: str) -> str:
    return textwrap.fill(paragraph, WIDTH, break_long_words=False, break_on_hyphens=False)


def _overview(sections: Sequence[Section]) -> list[list[str]]:
    return [["claim", "verdict"], *([f"{each.number}. {each.title}", each.result] for each in sections)]


def _statements(statements: Sequence[Statement]) -> list[list[str]]:
    rows = [[each.text, each.rule, each.evidence, "yes" if each.holds else "no"] for each in statements]
    return [["statement", "holds if", "seen", "holds"], *rows]


def _table(rows: Sequence[Sequence[str]]) -> str:
    headings, *others = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [headings, ["---"] * len(headings), *others]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """`text` without what would end the brackets of a picture."""
    return text.replace("[", "(").replace("]", ")")


def page(sections: Sequence[Section], introduction: Sequence[str], command: str, pages: Sequence[str] = ()) -> str:
    """The same as one page without any other file.

    Args:
        introduction: paragraphs in Markdown, of which only code in backquotes is read.
        pages: names of pages beside this one that show a comparison in detail.
    """
    parts = [f"<h1>{TITLE}</h1>", *map(_paragraph, introduction), _html_table(_overview(sections))]
    if pages:
        links = ", ".join(f'<a href="{html.escape(name)}">{html.escape(Path(name).stem)}</a>' for name in pages)
        parts.append(f"<p>Every row and every test: {links}.</p>")
    for section in sections:
        parts += [
            f'<section id="claim-{section.number}">',
            f"<h2>{section.number}. {html.escape(section.title)}</h2>",
            *map(_paragraph, [f"Claim: {section.claim}", *section.method, f"`{command} --claims {section.number}`"]),
            f'<figure role="img" aria-label="{html.escape(section.picture.alt)}">{_own_ids(section)}</figure>',
            _html_table(section.table),
            *map(_paragraph, section.remarks),
            _html_table(_statements(section.statements)),
            f'<p class="verdict">Verdict: {section.result}.</p>',
            "</section>",
        ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{TITLE}</title>'
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>\n' + "\n".join(
        [*parts, "</body></html>\n"]
    )


def _own_ids(section: Section) -> str:
    """The picture with ids that no other picture on the page has."""
    svg, mark = section.picture.svg, f"c{section.number}-"
    for before in ('id="', "url(#", 'href="#'):
        svg = svg.replace(before, before + mark)
    return svg


def _paragraph(text: str) -> str:
    parts = html.escape(text).split("`")
    return "<p>" + "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts)) + "</p>"


def _html_table(rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    headings, *others = rows
    body = "".join(line(row, "td") for row in others)
    return f'<div class="wide"><table><thead>{line(headings, "th")}</thead><tbody>{body}</tbody></table></div>'
