"""How the runs differ: settings, data, versions and machines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.compare.contenders import SEED, settings_of
from pipeline.compare.page.figures import Figures
from pipeline.compare.page.html import Html, cut, details, join, paragraphs, table, tag, user
from pipeline.compare.page.view import Entry, View
from pipeline.compare.runs import ComparedRun

ABSENT = "–"
LONGEST = 200
OF_TRAINING = ("epochs", "updates", "best_update", "monitor", "precision", "processes", "device")
OF_DATA = ("fingerprint", "rows", "columns", "tokenizer", "problem_type", "pairs")


def section(view: View, figures: Figures) -> Html | None:
    """What differs in a table, and what is the same on demand."""
    return join(
        [
            paragraphs("What is not listed is the same in all."),
            view.legend(),
            *(_part(view, title, values) for title, values in PARTS.items()),
        ]
    )


def _settings(run: ComparedRun) -> dict[str, Any]:
    return {name: value for name, value in (settings_of(run) or {}).items() if name != SEED}


def _data(run: ComparedRun) -> dict[str, Any]:
    return _picked(run.metrics.get("data"), OF_DATA)


def _training(run: ComparedRun) -> dict[str, Any]:
    return _picked(run.metrics["train"], OF_TRAINING)


def _machine(run: ComparedRun) -> dict[str, Any]:
    machine = run.metrics.get("machine")
    own = dict(machine) if isinstance(machine, Mapping) else {}
    libraries = own.pop("libraries", {})
    return {**own, **(libraries if isinstance(libraries, Mapping) else {})}


def _revisions(run: ComparedRun) -> dict[str, Any]:
    revisions = run.metrics.get("revisions")
    return dict(revisions) if isinstance(revisions, Mapping) else {}


PARTS: dict[str, Callable[[ComparedRun], dict[str, Any]]] = {
    "Settings": _settings,
    "Data": _data,
    "Training": _training,
    "Versions and machine": _machine,
    "Commits on the Hub": _revisions,
}


def _picked(values: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values} if isinstance(values, Mapping) else {}


def _part(view: View, title: str, read: Callable[[ComparedRun], dict[str, Any]]) -> Html:
    found = {entry.key: _joined([read(run) for run in entry.contender.runs]) for entry in view.entries}
    names = list(dict.fromkeys(name for values in found.values() for name in values))
    if not names:
        return Html("")
    differing = [name for name in names if len({values.get(name, ABSENT) for values in found.values()}) > 1]
    same = [name for name in names if name not in differing]
    rows = [[tag("code", name), *(_value(view, found, e, name) for e in view.entries)] for name in differing]
    first = view.entries[0]
    return join(
        [
            tag("h3", title),
            table(["", *view.heads()], rows, class_="settings") if rows else "",
            details(
                f"{len(same)} the same in all",
                table(
                    ["", "value"], ([tag("code", n), _value(view, found, first, n)] for n in same), class_="settings"
                ),
            )
            if same
            else "",
        ]
    )


def _value(view: View, found: dict[str, dict[str, str]], entry: Entry, name: str) -> Html:
    return user(cut(found[entry.key].get(name, ABSENT), LONGEST))


def _joined(runs: list[dict[str, Any]]) -> dict[str, str]:
    """The value of each name; where seeds differ, all of them."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: " / ".join(dict.fromkeys(_written(run.get(name)) for run in runs)) for name in names}


def _written(value: Any) -> str:
    if value is None:
        return ABSENT
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
