"""Settings of a push, and the names that the Hub allows for repositories, revisions and languages."""

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
    """Refuse to run code from the Hub at a revision that can change.

    Raises:
        UserError: `trusted`, and `name` is a Hub id without a commit.
    """
    if trusted and not COMMIT.fullmatch(revision or "") and not Path(name).expanduser().exists():
        raise UserError(
            f"{setting}: {name} would run its own code, at a revision that can change; set the revision to a commit"
            " whose code you have read (40 hex digits)"
        )


@settings("hub")
class Hub(Settings):
    """Whether and where the model is pushed when the run has finished; `finetune push` has the same settings."""

    push: bool = False
    """Push the model when the run has finished; a failed push is reported and never fails the run."""
    repo_id: str | None = None
    """Repository: user/name or organization/name; None: the recipe's name, in your own namespace."""
    private: bool = False
    """Create the repository as private."""
    revision: str | None = None
    """Branch to push to; created if it does not exist. None: main."""
    tag: str | None = None
    """Tag for the commit."""
    create_pr: bool = False
    """Open a pull request in an existing repository instead of committing to it."""
    license: str | None = None
    """License of the model: a license id of the Hub, such as apache-2.0."""
    languages: tuple[str, ...] | None = None
    """Languages of the texts: ISO 639 codes, such as en; None: that of a packaged sample."""
    overwrite: bool = False
    """Push to a repository with files that finetune did not push."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.push:
            for name in _names_set(self):
                self.refuse(name, "it has no effect without hub.push; set hub.push, or remove this setting")
        if self.repo_id is not None and not is_repo_id(self.repo_id):
            self.refuse(
                "repo_id",
                f"{shorten(repr(self.repo_id), 80)} is not a valid repository; use user/name or organization/name, with"
                " letters, digits, -, _ and .",
            )
        for name in ("revision", "tag"):
            value = getattr(self, name)
            if value is not None and (not REVISION.fullmatch(value) or ".." in value or COMMIT.fullmatch(value)):
                what = "a branch" if name == "revision" else "a tag"
                self.refuse(
                    name,
                    f"{shorten(repr(value), 80)} cannot name {what}; use letters, digits, -, _, . and /",
                )
        if self.create_pr:
            for name in ("private", "tag"):
                if getattr(self, name):
                    self.refuse(name, "a pull request cannot set it; remove this setting or hub.create_pr")
        for code in self.languages or ():
            if not LANGUAGE.fullmatch(code):
                self.refuse("languages", f"{code!r} is not a language code; use an ISO 639 code such as en, he or deu")


def _names_set(section: Settings) -> list[str]:
    """Names of the settings that differ from their defaults."""
    fields: Any = dataclasses.fields(section)  # type: ignore[arg-type]
    return [f.name for f in fields if getattr(section, f.name) != f.default]


def is_repo_id(name: str) -> bool:
    """Whether the Hub accepts `name`, with or without a namespace, as a repository."""
    parts = name.split("/")
    fits = all(_REPO_NAME.fullmatch(part) and part[-1] not in "-." for part in parts)
    return fits and len(parts) <= 2 and len(name) <= 96 and not re.search(r"--|\.\.|\.git$", name)
