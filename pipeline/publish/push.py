"""Push a finished run: stage its files, refuse secrets, verify the model in a clean process, and upload."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from huggingface_hub import HfApi, ModelCard, constants, get_session, get_token
from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled

from pipeline import run_folder
from pipeline.config.hub import LANGUAGE, Hub
from pipeline.errors import Interrupted, UserError, reason
from pipeline.hub import errors as hub_errors
from pipeline.publish import onnx_folder, reference_outputs
from pipeline.publish.card import UNKNOWN_LICENSE
from pipeline.publish.card_data import CardData
from pipeline.publish.onnx_folder import OnnxExport
from pipeline.publish.secrets import refuse_secrets
from pipeline.publish.staging import CARD, FinishedRun, open_run, stage_files
from pipeline.publish.upload import WAITS, upload_folder, with_retries
from pipeline.publish.verify import verify_export_in_clean_process, verify_in_clean_process

TIMEOUT_SECONDS = 60.0


def push(name: str, hub: Hub, seeds: Sequence[str] = (), onnx: OnnxExport | None = None) -> None:
    """Push the finished run in the folder `name` to the repository in `hub`, and print its address.

    Args:
        seeds: folders of runs that differ only in the seed: the card reports mean and spread over all of them.
        onnx: an export of the run that goes with it.

    Raises:
        UserError: the run cannot be pushed, or the Hub refuses it; no commit has been made then.
    """
    run = open_run(name)
    other_seeds = _metrics_of_other_seeds(run, seeds)
    api, user = connect()
    repo_id = _full_name(hub.repo_id or run.recipe.name, user)
    hub = _with_published_metadata(api, repo_id, hub)
    card_data = run.card_data(
        repo_id=repo_id,
        license=hub.license,
        languages=hub.languages or (),
        data_license=_data_license(api, run),
        other_seeds=other_seeds,
        has_onnx=onnx is not None,
    )
    with _staged(run, card_data, repo_id.split("/")[0], onnx) as folder, without_xet(), explained(repo_id, user):
        upload_folder(api, repo_id, hub, folder, run.recipe.task)


def rehearse(name: str, hub: Hub) -> None:
    """Everything that `push` does with the finished run in the folder `name`, except what takes the Hub.

    Prints a warning if this machine cannot write to the Hub at the moment: the run itself does not need it.

    Raises:
        UserError: the run could not be pushed.
    """
    run = open_run(name)
    repo_id = hub.repo_id or run.recipe.name
    if problem := _no_connection():
        print(f"push: {problem}; otherwise the run will finish, but its model will not be pushed", file=sys.stderr)
    # Until the Hub says who is logged in, it is taken to be the user of this machine.
    owner, has_owner, _ = repo_id.rpartition("/")
    card_data = run.card_data(repo_id=repo_id, license=hub.license, languages=hub.languages or ())
    with _staged(run, card_data, owner if has_owner else getpass.getuser()):
        pass


@contextlib.contextmanager
def _staged(run: FinishedRun, card_data: CardData, owner: str, onnx: OnnxExport | None = None) -> Iterator[Path]:
    """The files of `run` that are uploaded, in a temporary folder, searched for secrets and verified."""
    with tempfile.TemporaryDirectory(prefix="finetune-push-") as staged:
        folder = Path(staged)
        for message in stage_files(run, card_data, folder):
            print(f"push: {message}", flush=True)
        if onnx:
            onnx_folder.stage(onnx, folder)
        refuse_secrets(folder, owner)
        trusted = getattr(run.recipe.model, "trust_remote_code", False)
        verify_in_clean_process(folder, reference_outputs.read(run.folder), run.has_code, trusted)
        if onnx:
            verify_export_in_clean_process(folder, onnx)
        yield folder


def push_or_report(folder: Path, hub: Hub) -> None:
    """Push the run that has just finished; a failed push is reported, with the command for later, and never raises.

    A signal ends the push as well: the run is finished, so no scheduler should see it as interrupted.
    """
    try:
        push(str(folder), hub)
    except (Exception, Interrupted, KeyboardInterrupt) as error:
        problem = str(error) if isinstance(error, UserError) else reason(error)
        problem = "it was stopped" if isinstance(error, (Interrupted, KeyboardInterrupt)) else problem
        later = push_command(folder, hub)
        print(
            f"the run is finished, but its model was not pushed: {problem}; to push it later: {later}", file=sys.stderr
        )


def push_command(folder: Path, hub: Hub) -> str:
    """The `finetune push` command with the settings of `hub`."""
    words = ["finetune", "push", str(folder), hub.repo_id or "REPO_ID"]
    words += [f"--{name.replace('_', '-')}" for name in ("private", "create_pr", "overwrite") if getattr(hub, name)]
    for name in ("revision", "tag", "license"):
        words += [f"--{name}", getattr(hub, name)] if getattr(hub, name) else []
    return shlex.join([*words, *(["--languages", *hub.languages] if hub.languages else [])])


def _metrics_of_other_seeds(run: FinishedRun, names: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Seed -> metrics of the runs in the folders `names`, without `run` itself.

    Raises:
        UserError: two runs have the same seed, or differ in more than the seed.
    """
    metrics: dict[int, dict[str, Any]] = {}
    for name in names:
        other = open_run(name)
        if other.folder.resolve() == run.folder.resolve():  # a pattern such as runs/seed* includes it
            continue
        changed = [
            line
            for line in run_folder.differences(run.recipe, other.recipe)
            if line.split(" ")[0] not in ("name", "train.seed")
        ]
        if changed:
            raise UserError(f"seeds: {name} differs from {run.folder} in more than the seed: {'; '.join(changed)}")
        seed = other.recipe.train.seed
        if seed == run.recipe.train.seed or seed in metrics:
            raise UserError(f"seeds: {name} has seed {seed}, like another of these runs; give one run per seed")
        metrics[seed] = other.metrics
    return metrics


def connect() -> tuple[HfApi, dict[str, Any]]:
    """The client of the Hub, with a timeout, and the user who is logged in; empty on servers without users.

    Raises:
        UserError: offline, not logged in, or with a token that cannot write.
    """
    if problem := _no_connection():
        raise UserError(f"push: {problem}")
    get_session().timeout = TIMEOUT_SECONDS
    api = HfApi()
    try:
        user = with_retries(api.whoami, WAITS[:1])
    except hub_errors.HUB_ERRORS as error:
        if hub_errors.http_status(error) == 404:  # some self-hosted servers have repositories, but no users
            return api, {}
        raise UserError(f"push: {hub_errors.explain(error)}") from error
    if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise UserError(f"push: the token of {user.get('name')} is read-only; log in with one that has write access")
    return api, user


def _no_connection() -> str | None:
    """Why this machine cannot write to the Hub, as far as it knows without asking; None: it may be able to."""
    if constants.HF_HUB_OFFLINE:
        return hub_errors.explain(OfflineModeIsEnabled())
    return hub_errors.explain(LocalTokenNotFoundError()) if get_token() is None else None


def _full_name(repo_id: str, user: dict[str, Any]) -> str:
    if "/" in repo_id:
        return repo_id
    if "name" not in user:
        raise UserError(f"push: {repo_id} has no owner; give user/{repo_id}")
    return f"{user['name']}/{repo_id}"


def _with_published_metadata(api: HfApi, repo_id: str, hub: Hub) -> Hub:
    """`hub` with licence and languages of the card in the repository, unless it sets them itself."""
    try:
        with tempfile.TemporaryDirectory() as aside:
            file = api.hf_hub_download(repo_id, CARD, revision=hub.revision, local_dir=aside)
            card: Any = ModelCard(Path(file).read_text(encoding="utf-8"), ignore_metadata_errors=True).data
    except hub_errors.HUB_ERRORS:  # no card, or one that cannot be read
        return hub
    codes = [card.language] if isinstance(card.language, str) else card.language or []
    languages = tuple(code for code in codes if LANGUAGE.fullmatch(str(code))) or None
    license = card.license if card.license != UNKNOWN_LICENSE else None
    return replace(hub, license=hub.license or license, languages=hub.languages or languages)


def _data_license(api: HfApi, run: FinishedRun) -> str | None:
    """The licence in the card of a Hub dataset, if it has one that can be read."""
    source = run.recipe.data.source
    if "data.source" not in run.metrics.get("revisions", {}):
        return None
    try:
        card = api.dataset_info(source, revision=run.recipe.data.revision).card_data
    except hub_errors.HUB_ERRORS:
        return None
    license = card.get("license") if card else None
    return ", ".join(license) if isinstance(license, list) else license


@contextlib.contextmanager
def without_xet() -> Iterator[None]:
    """Upload with git LFS to servers other than huggingface.co, which do not have its Xet storage."""
    host = urlparse(constants.ENDPOINT).hostname or ""
    before = constants.HF_HUB_DISABLE_XET
    if not host.endswith(("huggingface.co", "hf.co")) and "HF_HUB_DISABLE_XET" not in os.environ:
        constants.HF_HUB_DISABLE_XET = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = before


@contextlib.contextmanager
def explained(repo_id: str, user: dict[str, Any]) -> Iterator[None]:
    """Turn an error of the Hub into a UserError that explains it."""
    try:
        yield
    except UserError:
        raise
    except hub_errors.HUB_ERRORS as error:
        explanation = hub_errors.explain(error)
        if hub_errors.http_status(hub_errors.root_cause(error)) == 403 and user:
            names = [user["name"], *(organisation["name"] for organisation in user.get("orgs", []))]
            explanation += f"; you are logged in as {names[0]} and may write to {' and '.join(names)}"
        raise UserError(f"push: {repo_id}: {explanation}") from error
