"""One commit of what differs from the files that are there: repository, branch and tag, tried again if that helps."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeVar

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import sha

from pipeline import run_folder
from pipeline.config.hub import Hub
from pipeline.errors import UserError
from pipeline.hub import errors as hub_errors
from pipeline.publish.staging import CARD

T = TypeVar("T")

# Seconds before another try; the client has waited and tried by itself before, within each of them.
WAITS = (2.0, 5.0, 15.0)
MAIN = "main"
SHA256_DIGITS = 64
# Files of an earlier push that would be read as parts of this model; whatever else is there stays.
STALE = (
    *("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "adapter_*", "labels.json", "*_recurrent.py"),
    *(
        "config.json",
        "generation_config.json",
        "characters.py",
        "crf.py",
        "layout.py",
        "recurrence.py",
        "tag_constraints.py",
        "*_crf.py",
        "vocab.*",
        "merges.txt",
        "tokenizer*",
        "special_tokens_map.json",
    ),
)


def again(action: Callable[[], T], waits: Sequence[float] = WAITS) -> T:
    """What `action` returns, tried again with longer and longer pauses while its trouble is a passing one."""
    for seconds in waits:
        try:
            return action()
        except hub_errors.HUB_ERRORS as error:
            if not hub_errors.is_passing(error):
                raise
            time.sleep(seconds)
    return action()


def send(api: HfApi, repo_id: str, hub: Hub, folder: Path, task: str) -> None:
    """Make repository and branch where they are missing, commit what differs, and tag it."""
    again(lambda: _open_repository(api, repo_id, hub, task))
    branch = hub.revision or MAIN
    if branch != MAIN and not branch.startswith("refs/"):
        again(lambda: api.create_branch(repo_id, branch=branch, exist_ok=True))
    operations = again(lambda: _changes(api, repo_id, branch, folder))
    tagged = _tagged(api, repo_id, hub.tag) if hub.tag else None
    if operations and tagged:
        raise UserError(
            f"push: the tag {hub.tag} of {repo_id} is on another state of it ({tagged[:12]}); choose another name"
        )
    if operations:
        print(f"push: {len(operations)} files differ from those at {repo_id}", flush=True)
        waits = () if hub.create_pr else WAITS  # a second try would make a second request
        made = again(lambda: _commit(api, repo_id, hub, branch, _changes(api, repo_id, branch, folder)), waits)
    where = f"{constants.ENDPOINT}/{repo_id}"
    commit = made.oid if operations and made else _head(api, repo_id, branch)
    if hub.tag and tagged not in (None, commit):
        raise UserError(f"push: the tag {hub.tag} of {repo_id} is on another commit of it; choose another name")
    if hub.tag and not tagged:
        again(lambda: api.create_tag(repo_id, tag=hub.tag, revision=commit, exist_ok=True))  # type: ignore[arg-type]
    tagged_now = f", tagged {hub.tag}" if hub.tag else ""
    if not operations:
        print(f"nothing has changed: {where} has it at {commit}{tagged_now}")
    elif hub.create_pr and made:
        print(f"proposed: {made.pr_url}")
    else:
        print(f"pushed: {where}/tree/{branch} at {commit}{tagged_now}")


def _open_repository(api: HfApi, repo_id: str, hub: Hub, task: str) -> None:
    """Make the repository, or refuse the one that is there."""
    try:
        info = api.model_info(repo_id)
    except HfHubHTTPError as error:
        if not isinstance(error, RepositoryNotFoundError) and hub_errors.status_of(error) != 404:
            raise
        _make_repository(api, repo_id, hub)
        return
    if hub.private and info.private is False:
        raise UserError(
            f"push: {repo_id} is there and everybody may read it; make it private on its page, or choose another name"
        )
    files = {sibling.rfilename for sibling in info.siblings or ()} - {".gitattributes", ".gitignore", CARD}
    if hub.overwrite or hub.create_pr or not files:
        return
    there = _task_there(api, repo_id) if run_folder.RECIPE in files else "something that no run of ours is"
    if there != task:
        raise UserError(f"push: the name {repo_id} is taken, by {there}; choose another, or --overwrite it")


def _make_repository(api: HfApi, repo_id: str, hub: Hub) -> None:
    if hub.create_pr:
        raise UserError(f"push: there is no {repo_id} to propose a change to; push without --create-pr")
    try:
        api.create_repo(repo_id, private=hub.private)
    except hub_errors.HUB_ERRORS as error:
        if hub_errors.status_of(error) != 409:
            raise
        raise UserError(f"push: the name {repo_id} is taken, by what you may not read; choose another") from error


def _task_there(api: HfApi, repo_id: str) -> str:
    """The task of the run that a repository holds."""
    with tempfile.TemporaryDirectory() as aside:
        file = api.hf_hub_download(repo_id, run_folder.RECIPE, local_dir=aside)
        told = json.loads(Path(file).read_text(encoding="utf-8"))
    return str(told.get("task")) if isinstance(told, dict) else "a recipe of another kind"


def _changes(api: HfApi, repo_id: str, branch: str, folder: Path) -> list[CommitOperationAdd | CommitOperationDelete]:
    """What has to be done to the branch: files that differ from those there, and leftovers of another model."""
    try:
        tree = {file.path: file for file in api.list_repo_tree(repo_id, revision=branch) if isinstance(file, RepoFile)}
    except HfHubHTTPError as error:
        if hub_errors.status_of(error) != 404:
            raise
        tree = {}  # nothing has been committed there
    local = {file.name: file for file in sorted(folder.iterdir())}
    changed = [name for name, file in local.items() if name not in tree or not _is_same(file, tree[name])]
    stale = [name for name in tree if name not in local and any(fnmatch(name, pattern) for pattern in STALE)]
    return [
        *(CommitOperationAdd(name, str(local[name].resolve())) for name in changed),
        *(CommitOperationDelete(name, is_folder=False) for name in stale),
    ]


def _is_same(file: Path, there: RepoFile) -> bool:
    if file.stat().st_size != there.size:
        return False
    if there.lfs is not None or len(there.blob_id) == SHA256_DIGITS:
        with file.open("rb") as stream:
            return sha.sha_fileobj(stream).hex() == (there.lfs.sha256 if there.lfs else there.blob_id)
    return bool(sha.git_hash(file.read_bytes()) == there.blob_id)


def _commit(
    api: HfApi, repo_id: str, hub: Hub, branch: str, operations: list[CommitOperationAdd | CommitOperationDelete]
) -> CommitInfo | None:
    """One commit; None: an earlier try has made it and its answer was lost. What was uploaded before is not again."""
    if not operations:
        return None
    return api.create_commit(
        repo_id,
        operations,
        commit_message="Push a run of finetune",
        revision=branch,
        create_pr=hub.create_pr,
    )


def _head(api: HfApi, repo_id: str, branch: str) -> str:
    return str(again(lambda: api.model_info(repo_id, revision=branch)).sha)


def _tagged(api: HfApi, repo_id: str, tag: str) -> str | None:
    """The commit that has the tag; None: no such tag."""
    refs = again(lambda: api.list_repo_refs(repo_id))
    return next((ref.target_commit for ref in refs.tags if ref.name == tag), None)
