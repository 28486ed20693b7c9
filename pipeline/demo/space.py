"""Push a demo to the Hub as a Space, after it has been tried here as it will run there."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from pipeline.config import paths
from pipeline.demo import space_files
from pipeline.errors import UserError, shorten
from pipeline.hub import download
from pipeline.hub import errors as hub_errors
from pipeline.publish.push import connect, explained, without_xet
from pipeline.publish.secrets import refuse_secrets
from pipeline.publish.upload import with_retries

TIMEOUT_SECONDS = 900
# What a Space no longer needs is deleted, if it is in one of these folders.
OWN = ("pipeline/*", f"{space_files.MODELS}/*")


def push(repo_id: str, names: Sequence[str], private: bool = False, overwrite: bool = False) -> None:
    """Make the Space `repo_id` of the models called `names`, or bring it up to date, and print its address.

    Args:
        names: folders, whose models are copied, or Hub ids, which are loaded from there at the commit of now.
        overwrite: whether a Space may be changed that finetune has not made.

    Raises:
        UserError: the models do not belong together, a file holds a secret, or the Hub refuses it; nothing has been
            pushed then.
    """
    api, user = connect()
    with tempfile.TemporaryDirectory(prefix="finetune-demo-") as staged, explained(repo_id, user), without_xet():
        folder = Path(staged)
        on_hub = [name for name in names if paths.saved_model(name, "runs", adapters=True) is None]
        revisions = {name: download.resolve(name, None, "runs") for name in on_hub}
        space_files.write(names, revisions, repo_id, folder)
        refuse_secrets(folder, repo_id.partition("/")[0])
        _try(folder)
        _ensure_space(api, repo_id, private, overwrite)
        made = with_retries(
            lambda: api.upload_folder(
                repo_id=repo_id,
                repo_type="space",
                folder_path=folder,
                commit_message="Push a demo of finetune",
                delete_patterns=list(OWN),
            )
        )
    print(f"pushed: {constants.ENDPOINT}/spaces/{repo_id} at {made.oid}")
    if hidden := [name for name in on_hub if api.model_info(name).private]:
        print(f"push: {', '.join(hidden)} is private: give the Space a secret HF_TOKEN that can read it")


def _try(folder: Path) -> None:
    """Build the page in a new process, with the files of the Space only.

    Raises:
        UserError: it fails.
    """
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", "import app"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise UserError(f"push: the page cannot be built of the files of the Space: {shorten(last[0], 300)}")


def _ensure_space(api: HfApi, repo_id: str, private: bool, overwrite: bool) -> None:
    """Create the Space, or check that the one of that name may be changed."""
    try:
        info = with_retries(lambda: api.space_info(repo_id))
    except HfHubHTTPError as error:
        if not isinstance(error, RepositoryNotFoundError) and hub_errors.http_status(error) != 404:
            raise
        with_retries(lambda: api.create_repo(repo_id, repo_type="space", space_sdk="gradio", private=private))
        return
    if private and info.private is False:
        raise UserError(f"push: the Space {repo_id} exists and is public; make it private, or choose another name")
    files = {sibling.rfilename for sibling in info.siblings or ()} - {".gitattributes", "README.md"}
    if files and space_files.MARK not in files and not overwrite:
        raise UserError(
            f"push: the Space {repo_id} holds files that finetune did not push; choose another name, or add --overwrite"
        )
