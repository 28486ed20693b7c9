"""Upload a folder in one commit of the files that differ; make repository, branch and tag; retry transient errors."""

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
from pipeline.publish.onnx_folder import ONNX
from pipeline.publish.staging import CARD, WEIGHTS

T = TypeVar("T")

# Seconds between attempts; within each, the Hub client also retries.
WAITS = (2.0, 5.0, 15.0)
MAIN = "main"
SHA256_DIGITS = 64
# The code that is saved with recurrent models and CRF taggers.
CODE = sorted(file.name for file in (Path(__file__).parents[1] / "models/recurrent").glob("[!_]*.py"))
# Files of an earlier push that would be taken for parts of this model, and are deleted; all others stay.
STALE = (
    *("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "adapter_*", "labels.json", "config.json"),
    *("generation_config.json", "vocab.*", "merges.txt", "tokenizer*", "source_tokenizer.json"),
    *("special_tokens_map.json", *CODE),
)


# Files of an export, which are deleted once the weights that it was made from have changed.
OF_EXPORT = (f"{ONNX}/*", "handler.py")


def with_retries(action: Callable[[], T], waits: Sequence[float] = WAITS) -> T:
    """The result of `action`, which is called again after each of `waits` seconds while its error is transient."""
    for seconds in waits:
        try:
            return action()
        except hub_errors.HUB_ERRORS as error:
            if not hub_errors.is_transient(error):
                raise
            time.sleep(seconds)
    return action()


def upload_folder(api: HfApi, repo_id: str, hub: Hub, folder: Path, task: str) -> None:
    """Create the repository and branch if they are missing, commit the files that differ, tag the commit, and report.

    Args:
        task: of the run; a repository that holds a run of another task is refused.

    Raises:
        UserError: the repository must not be written to, or the tag belongs to another commit.
    """
    with_retries(lambda: _ensure_repository(api, repo_id, hub, task))
    branch = hub.revision or MAIN
    if branch != MAIN and not branch.startswith("refs/"):
        with_retries(lambda: api.create_branch(repo_id, branch=branch, exist_ok=True))
    operations = with_retries(lambda: _operations(api, repo_id, branch, folder))
    tagged = _tagged_commit(api, repo_id, hub.tag) if hub.tag else None
    if operations and tagged:
        raise UserError(f"push: {repo_id} already has a tag {hub.tag}, on commit {tagged[:12]}; choose another name")
    made = None
    if operations:
        print(f"push: {len(operations)} files differ from those in {repo_id}", flush=True)
        waits = () if hub.create_pr else WAITS  # a second try could open a second pull request
        # Compared again on each try: if the answer to a successful commit was lost, there is nothing left to commit.
        made = with_retries(
            lambda: _commit(api, repo_id, hub, branch, _operations(api, repo_id, branch, folder)), waits
        )
    commit = made.oid if made else _head(api, repo_id, branch)
    if hub.tag and tagged not in (None, commit):
        raise UserError(f"push: {repo_id} already has a tag {hub.tag}, on another commit; choose another name")
    if hub.tag and not tagged:
        with_retries(lambda: api.create_tag(repo_id, tag=hub.tag, revision=commit, exist_ok=True))  # type: ignore[arg-type]
    where, tag = f"{constants.ENDPOINT}/{repo_id}", f", tagged {hub.tag}" if hub.tag else ""
    if not operations:
        print(f"nothing to push: {where} already has these files, at {commit}{tag}")
    elif hub.create_pr and made:
        print(f"opened a pull request: {made.pr_url}")
    else:
        print(f"pushed: {where}/tree/{branch} at {commit}{tag}")


def _ensure_repository(api: HfApi, repo_id: str, hub: Hub, task: str) -> None:
    """Create the repository, or check that the one of that name may be written to."""
    try:
        info = api.model_info(repo_id)
    except HfHubHTTPError as error:
        if not isinstance(error, RepositoryNotFoundError) and hub_errors.http_status(error) != 404:
            raise
        _create_repository(api, repo_id, hub)
        return
    if hub.private and info.private is False:
        raise UserError(
            f"push: {repo_id} exists and is public; make it private in its settings on the Hub, or choose another name"
        )
    files = {sibling.rfilename for sibling in info.siblings or ()} - {".gitattributes", ".gitignore", CARD}
    if hub.overwrite or hub.create_pr or not files:
        return
    if run_folder.RECIPE not in files:
        raise UserError(
            f"push: {repo_id} already holds files that finetune did not push; choose another name, or add --overwrite"
        )
    other = _published_task(api, repo_id)
    if other != task:
        raise UserError(
            f"push: {repo_id} already holds a model for {other}, not {task}; choose another name, or add --overwrite"
        )


def _create_repository(api: HfApi, repo_id: str, hub: Hub) -> None:
    if hub.create_pr:
        raise UserError(f"push: {repo_id} does not exist, so no pull request can be opened; push without --create-pr")
    try:
        api.create_repo(repo_id, private=hub.private)
    except hub_errors.HUB_ERRORS as error:
        if hub_errors.http_status(error) != 409:
            raise
        raise UserError(f"push: {repo_id} exists, and you have no access to it; choose another name") from error


def _published_task(api: HfApi, repo_id: str) -> str:
    """The task in the recipe.json of a repository."""
    with tempfile.TemporaryDirectory() as aside:
        file = api.hf_hub_download(repo_id, run_folder.RECIPE, local_dir=aside)
        recipe = json.loads(Path(file).read_text(encoding="utf-8"))
    return str(recipe.get("task")) if isinstance(recipe, dict) else "an unknown task"


def _operations(
    api: HfApi, repo_id: str, branch: str, folder: Path
) -> list[CommitOperationAdd | CommitOperationDelete]:
    """What turns the branch into `folder`: add the files that differ, delete leftovers of another model."""
    try:
        found = api.list_repo_tree(repo_id, revision=branch, recursive=True)
        tree = {file.path: file for file in found if isinstance(file, RepoFile)}
    except HfHubHTTPError as error:
        if hub_errors.http_status(error) != 404:
            raise
        tree = {}  # the branch has no commit yet
    local = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
    changed = [name for name, file in local.items() if name not in tree or not _is_same(file, tree[name])]
    has_new_weights = any(name.endswith(WEIGHTS) for name in changed)
    stale = [name for name in tree if name not in local and _is_stale(name, has_new_weights)]
    return [
        *(CommitOperationAdd(name, str(local[name].resolve())) for name in changed),
        *(CommitOperationDelete(name, is_folder=False) for name in stale),
    ]


def _is_stale(name: str, has_new_weights: bool) -> bool:
    """Whether a file in the repository that is not pushed must not stay there."""
    at_top = "/" not in name and any(fnmatch(name, pattern) for pattern in STALE)
    return at_top or (has_new_weights and any(fnmatch(name, pattern) for pattern in OF_EXPORT))


def _is_same(local: Path, remote: RepoFile) -> bool:
    """By size and hash: SHA-256 for files in LFS, and that of a git blob, SHA-1, for others."""
    if local.stat().st_size != remote.size:
        return False
    if remote.lfs is not None or len(remote.blob_id) == SHA256_DIGITS:
        with local.open("rb") as stream:
            return sha.sha_fileobj(stream).hex() == (remote.lfs.sha256 if remote.lfs else remote.blob_id)
    return bool(sha.git_hash(local.read_bytes()) == remote.blob_id)


def _commit(
    api: HfApi, repo_id: str, hub: Hub, branch: str, operations: list[CommitOperationAdd | CommitOperationDelete]
) -> CommitInfo | None:
    """One commit; None: there is nothing to commit. LFS files that an earlier try has uploaded are not sent again."""
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
    return str(with_retries(lambda: api.model_info(repo_id, revision=branch)).sha)


def _tagged_commit(api: HfApi, repo_id: str, tag: str) -> str | None:
    """The commit of a tag; None: there is no such tag."""
    refs = with_retries(lambda: api.list_repo_refs(repo_id))
    return next((ref.target_commit for ref in refs.tags if ref.name == tag), None)
