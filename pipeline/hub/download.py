"""Downloads from the Hub: a revision resolved to its commit, and the files of that commit in a local folder.

Without network, the libraries would spend a minute on retries. Instead, the Hub is asked once whether it answers, and
if it does not, everything is looked up in the caches.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from huggingface_hub import HfApi, constants, get_session, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionResolutionError,
)

from pipeline.config.hub import COMMIT
from pipeline.errors import UserError
from pipeline.hub import errors as hub_errors

TIMEOUT_SECONDS = 5.0
# The files of a model or a tokenizer. Pickles are downloaded only if they are allowed; code is run only if it is.
FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.py", "*.bpe", "*.jinja", "*.tiktoken", "README.md"]
PICKLES = ["pytorch_model*.bin", "adapter_model.bin"]
# Copies of the weights for other libraries and in other precisions.
IGNORED = ["*/*", "consolidated*.safetensors", "*.fp16.safetensors", "*.bf16.safetensors", "flax_*", "tf_*"]


@functools.cache
def go_offline_if_unreachable() -> None:
    """Set the libraries of this process to offline mode if the Hub does not answer."""
    if constants.HF_HUB_OFFLINE:
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=TIMEOUT_SECONDS)
    except (OSError, HTTPError):
        constants.HF_HUB_OFFLINE = True
        if "datasets" in sys.modules:  # it copied the constant when it was imported
            sys.modules["datasets"].config.HF_HUB_OFFLINE = True


def resolve(name: str, revision: str | None, setting: str, kind: str = "model") -> str:
    """The commit of `revision`, a branch or a tag; offline, the commit that it had when it was downloaded.

    Args:
        revision: None: the main branch.
        setting: where the user wrote `name`, for the message.
        kind: `model` or `dataset`.

    Raises:
        UserError: there is no such repository or revision, or the Hub cannot be reached and the cache does not know.
    """
    if revision and COMMIT.fullmatch(revision):
        return revision
    go_offline_if_unreachable()
    try:
        return HfApi().resolve_revision(name, repo_type=kind, revision=revision).resolved
    except RevisionResolutionError as error:
        raise UserError(
            f"{setting}: {name} is not a local folder, and the Hub cannot be reached to look it up; run `finetune fetch"
            " RECIPE` on a machine with network, or give the commit that was downloaded (40 hex digits) as the revision"
        ) from error
    except hub_errors.HUB_ERRORS as error:
        at = f" at revision {revision}" if revision else ""
        is_missing = isinstance(error, RepositoryNotFoundError) and not isinstance(error, GatedRepoError)
        local = "not a local folder, and " if is_missing else ""
        raise UserError(f"{setting}: {name}{at}: {local}{hub_errors.explain(error)}") from error


def snapshot(name: str, revision: str | None, setting: str, allow_pickle: bool = False) -> Path:
    """The local folder with the model or tokenizer `name` of the Hub at one commit; downloaded if it is not cached.

    Args:
        revision: commit, branch or tag; None: the main branch.
        setting: where the user wrote `name`, for the message.
        allow_pickle: whether pickled weights are downloaded as well.

    Raises:
        UserError: as `resolve` does, or the download fails.
    """
    commit = resolve(name, revision, setting)
    patterns = [*FILES, *(PICKLES if allow_pickle else [])]
    try:
        return Path(snapshot_download(name, revision=commit, allow_patterns=patterns, ignore_patterns=IGNORED))
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"{setting}: {name} at {commit} is not in the local cache, and the Hub cannot be reached; run `finetune"
            " fetch RECIPE` on a machine with network"
        ) from error
    except hub_errors.HUB_ERRORS as error:
        raise UserError(f"{setting}: {name} at {commit}: {hub_errors.explain(error)}") from error
