"""Arguments that several commands have: a recipe with its settings, a model, help."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tyro

from pipeline import run_folder
from pipeline.config import paths
from pipeline.config.hub import check_trust
from pipeline.config.loading import check_paths, override
from pipeline.config.recipe import Recipe
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
