"""The Hub, asked once: where it cannot be reached, nobody waits for the minute that libraries spend on retries.

What a recipe names there is read at one commit, from a folder of this machine that holds nothing but that commit.
"""

from __future__ import annotations

import functools
from pathlib import Path

import datasets
from huggingface_hub import HfApi, constants, get_session, snapshot_download
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError, RevisionResolutionError

from pipeline.config.hub import COMMIT
from pipeline.errors import UserError
from pipeline.hub import errors as hub_errors

SECONDS = 5.0
# What a model or a tokenizer may consist of; pickles only where they are allowed, and code is run only where it is.
FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.py", "*.bpe", "*.jinja", "*.tiktoken", "README.md"]
PICKLES = ["pytorch_model*.bin", "adapter_model.bin"]
# Weights in other places and precisions, which nothing here reads.
UNREAD = ["*/*", "consolidated*.safetensors", "*.fp16.safetensors", "*.bf16.safetensors", "flax_*", "tf_*"]


@functools.cache
def go_offline_if_unreachable() -> None:
    """Let the libraries of this process look into their caches alone if the Hub does not answer."""
    if constants.HF_HUB_OFFLINE:
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except (OSError, HTTPError):
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True


def resolve(name: str, revision: str | None, setting: str, kind: str = "model") -> str:
    """The commit that `revision`, a tag, a branch or nothing, stands for; offline, where it stood when it was fetched.

    Args:
        kind: model or dataset.
        setting: where the user wrote `name`, for the message.

    Raises:
        UserError: there is no such repository or revision, or nobody to ask.
    """
    if revision and COMMIT.fullmatch(revision):
        return revision
    go_offline_if_unreachable()
    try:
        return HfApi().resolve_revision(name, repo_type=kind, revision=revision).resolved
    except RevisionResolutionError as error:
        raise UserError(
            f"{setting}: {name} is no folder here, and the Hub cannot be reached to look for it; give the revision that"
            " it was fetched at (40 hex digits), or fetch it first: finetune fetch RECIPE"
        ) from error
    except hub_errors.HUB_ERRORS as error:
        at = f" at revision {revision}" if revision else ""
        raise UserError(f"{setting}: {name}{at}, no folder here, on the Hub: {hub_errors.told(error)}") from error


def snapshot(name: str, revision: str | None, setting: str, allow_pickle: bool = False) -> Path:
    """The folder that holds the model or tokenizer `name` of the Hub at one commit; fetched if it is not there.

    Raises:
        UserError: as of `resolve`, or it cannot be fetched.
    """
    commit = resolve(name, revision, setting)
    patterns = [*FILES, *(PICKLES if allow_pickle else [])]
    try:
        return Path(snapshot_download(name, revision=commit, allow_patterns=patterns, ignore_patterns=UNREAD))
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"{setting}: {name} at {commit} was not fetched to this machine, and the Hub cannot be reached;"
            " finetune fetch RECIPE gathers what a recipe needs"
        ) from error
    except hub_errors.HUB_ERRORS as error:
        raise UserError(f"{setting}: {name} at {commit}: {hub_errors.told(error)}") from error
