"""Arguments that several commands have: a recipe with its settings, a model, help."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tyro

from pipeline import run_folder
from pipeline.config import paths
from pipeline.config.hub import check_trust
from pipeline.config.loading import check_paths, override
from pipeline.config.recipe import Recipe
from pipeline.config.schema import Settings, check
from pipeline.errors import UserError

Arguments = Sequence[str]
HELP = ("-h", "--help")


@dataclass(frozen=True)
class Reading:
    """Which columns of the data hold what, and how a table is written."""

    text_column: str | None = None
    """column with the texts; needed only if it cannot be inferred."""
    text_pair_column: str | None = None
    """column with the second text of each pair; needed only if it cannot be inferred."""
    token_column: str | None = None
    """column with the words of each sentence; needed only if it cannot be inferred."""
    target_column: str | None = None
    """for translation: column with the translations; needed only if it cannot be inferred."""
    separator: str | None = None
    """character between the columns of a table, or `tab`; needed only if it cannot be inferred."""
    quoting: Literal["double", "backslash", "none"] | None = None
    """how a quotation mark in a quoted field of a table is written: doubled, after a backslash; none: no quotes."""
    header: bool | None = None
    """whether the first line of a table names its columns; needed only if it cannot be inferred."""
    encoding: str | None = None
    """encoding of text files, such as latin-1, if it is not UTF-8."""

    def settings(self) -> dict[str, Any]:
        """The same as settings of `Data`."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class ReadingLabels(Reading):
    """Which columns of the data hold what, what their labels mean, and how a table is written."""

    label_column: str | None = None
    """column with the labels; needed only if it cannot be inferred."""
    tag_column: str | None = None
    """column with the tag of each word; needed only if it cannot be inferred."""
    label_names: tuple[str, ...] | None = None
    """names of labels that are numbers in the data, such as 0=negative 1=positive."""
    missing_labels: tuple[str, ...] | None = None
    """values that mean that a row has no label, such as unknown; such rows are not scored."""
    overlaps: Literal["refuse", "longest"] = "refuse"
    """for ner: whether a row with overlapping spans is refused, or the longest of them is kept."""


INFERRED, LABELS_INFERRED = Reading(), ReadingLabels()


def show_help(described: Callable[..., None], program: str) -> None:
    """Print the help of `program`, whose arguments are those of `described`, and exit.

    For commands that read their arguments themselves, because a recipe determines which settings may follow it.
    """
    tyro.cli(described, args=["--help"], prog=program)


def call(command: Callable[..., None], given: Arguments, program: str) -> None:
    """Call `command` with what the command line gives for its arguments, each within the bounds of its annotation.

    Raises:
        UserError: an argument is out of range, or `command` raises it.
    """

    @functools.wraps(command)
    def checked(*values: Any, **named: Any) -> None:
        bound = inspect.signature(command).bind(*values, **named)
        _check_all(bound.arguments, command)
        command(*values, **named)

    tyro.cli(checked, args=list(given), prog=program)


def _check_all(values: Mapping[str, Any], described: Any) -> None:
    """Check `values` against the annotations of `described`, and those in groups of flags against their own."""
    hints = typing.get_type_hints(described, include_extras=True)
    for name, value in values.items():
        if dataclasses.is_dataclass(value) and not isinstance(value, Settings):
            _check_all(vars(value), type(value))
        else:
            check(name.replace("_", "-"), value, hints[name])


def changed(recipe: Recipe, settings: Arguments, program: str) -> Recipe:
    """`recipe` with `settings` from the command line, its files and folders checked.

    Raises:
        UserError: a setting is refused, or names a file that does not exist.
    """
    recipe = override(recipe, settings, program)
    check_paths(recipe)
    return recipe


def check_model(name: str, revision: str | None, trusted: bool, setting: str) -> None:
    """Refuse a model that cannot be loaded with these options, before anything is imported.

    Args:
        setting: the flag for `revision`, for the message.

    Raises:
        UserError: a folder without a model, a revision of a folder, or code from the Hub without a fixed commit.
    """
    folder = paths.saved_model(run_folder.model_in(name), "model", adapters=True)
    if folder and revision:
        raise UserError(f"{setting}: {folder} is a local folder and has no revisions; leave it out")
    check_trust(name, revision, trusted, "trust-remote-code")


def is_main_process() -> bool:
    """Whether this is the process that prints, among those that a launcher such as torchrun has started."""
    return os.environ.get("RANK", "0") == "0"
