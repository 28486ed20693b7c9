"""A text and its translations in files of the same name that end in their languages: train.en and train.de."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

# A code of ISO 639, and perhaps a script and a country: en, pt_BR, zh-Hant.
_LANGUAGE = re.compile(r"[a-z]{2,3}([-_](?:[A-Z][a-z]{3}|[A-Za-z]{2}|\d{3}))*", re.ASCII)
_COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")


def language_of(file: Path) -> str | None:
    """The language that the name of a file ends in: de of train.de and of train.de.gz."""
    name = next((file.name[: -len(end)] for end in _COMPRESSIONS if file.name.endswith(end)), file.name)
    stem, _, language = name.rpartition(".")
    return language if stem and _LANGUAGE.fullmatch(language) else None


def beside(file: Path) -> list[Path]:
    """The other languages of `file`, by name."""
    if not file.parent.is_dir() or language_of(file) is None:
        return []
    return [other for other in sorted(file.parent.iterdir()) if other != file and _stem(other) == _stem(file)]


def first_files(files: Iterable[Path]) -> list[Path]:
    """Of `files`, in the order of their names, the first of each text that is there in at least two languages."""
    found: dict[str, list[Path]] = {}
    for file in sorted(files):
        if stem := _stem(file):
            found.setdefault(stem, []).append(file)
    return [languages[0] for languages in found.values() if len(languages) > 1]


def _stem(file: Path) -> str | None:
    """The name of `file` without its language; None if it has none."""
    language = language_of(file)
    return None if language is None else file.name[: file.name.rindex(f".{language}")]
