"""Settings of a push, and what repositories, revisions and languages of the Hub may be called."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from pipeline.config.schema import Settings, settings
from pipeline.errors import UserError, shorten

_REPO_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*", re.ASCII)
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
REVISION = re.compile(r"\w[\w./-]*", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
LANGUAGE = re.compile(r"[a-z]{2,3}")


def check_trust(name: str, revision: str | None, trusted: bool, setting: str) -> None:
    """Refuse to run code of the Hub that may change before it is run."""
    if trusted and not COMMIT.fullmatch(revision or "") and not Path(name).expanduser().exists():
        raise UserError(
            f"{setting}: {name} would run its own code here, at a revision that can move; set the revision to the"
            " commit whose code you have read (40 hex digits)"
        )


@settings("hub")
class Hub(Settings):
    """Where the model goes once the run has finished; `finetune push` has the same settings."""

    push: bool = False
    """Push the model when the run has finished; a push that fails does not fail the run."""
    repo_id: str | None = None
    """Repository, user/name or organisation/name; None: the recipe's name under your own."""
    private: bool = False
    """Make a repository that you alone, or your organisation, may read."""
    revision: str | None = None
    """Branch; it is made where there is none of that name. None: main."""
    tag: str | None = None
    """Name for the commit that is made."""
    create_pr: bool = False
    """Propose the change to a repository that is there, instead of making it."""
    license: str | None = None
    """Licence of the model, by its id on the Hub, such as apache-2.0."""
    languages: tuple[str, ...] | None = None
    """Languages of the texts, by their codes, such as en; None: those that are known of a packaged sample."""
    overwrite: bool = False
    """Write into a repository that holds something else than a run that was pushed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.push:
            for name in _names_set(self):
                self.refuse(name, "without hub.push nothing is pushed; set it, or remove this setting")
        if self.repo_id is not None and not is_repo_id(self.repo_id):
            self.refuse(
                "repo_id",
                f"{shorten(repr(self.repo_id), 80)} cannot name a repository; it is user/name or organisation/name, of"
                " letters, digits, -, _ and .",
            )
        for name in ("revision", "tag"):
            value = getattr(self, name)
            if value is not None and (not REVISION.fullmatch(value) or ".." in value or COMMIT.fullmatch(value)):
                what = "a branch" if name == "revision" else "a tag"
                self.refuse(name, f"{shorten(repr(value), 80)} cannot name {what}; use letters, digits, -, _, . and /")
        if self.create_pr:
            for name in ("private", "tag"):
                if getattr(self, name):
                    self.refuse(name, "a pull request cannot change it; remove this setting or hub.create_pr")
        for code in self.languages or ():
            if not LANGUAGE.fullmatch(code):
                self.refuse("languages", f"{code!r} is no code of a language; it is en, he, deu and the like")


def _names_set(section: Settings) -> list[str]:
    """Names of the settings that have another value than by default."""
    fields: Any = dataclasses.fields(section)  # type: ignore[arg-type]
    return [f.name for f in fields if getattr(section, f.name) != f.default]


def is_repo_id(name: str) -> bool:
    parts = name.split("/")
    fits = all(_REPO_NAME.fullmatch(part) and part[-1] not in "-." for part in parts)
    return fits and len(parts) <= 2 and len(name) <= 96 and not re.search(r"--|\.\.|\.git$", name)
