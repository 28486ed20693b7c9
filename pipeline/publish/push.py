"""Pushing a finished run: checked here first, then one commit of what has changed, tried again where that may help."""

from __future__ import annotations

import contextlib
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
from huggingface_hub.errors import LocalTokenNotFoundError

from pipeline import run_folder
from pipeline.config.hub import LANGUAGE, Hub
from pipeline.errors import Interrupted, UserError, reason
from pipeline.hub import errors as hub_errors
from pipeline.publish import reference_outputs
from pipeline.publish.card import UNKNOWN_LICENSE
from pipeline.publish.card_data import Facts
from pipeline.publish.secrets import scan
from pipeline.publish.staging import CARD, Run, open_run, stage
from pipeline.publish.upload import WAITS, again, send
from pipeline.publish.verify import check

SECONDS = 60.0


def push(name: str, hub: Hub, seeds: Sequence[str] = ()) -> None:
    """Push the finished run in the folder `name` as `hub` says, and print where it is.

    Args:
        seeds: folders of runs that differ in the seed alone: the card gives mean and spread over all of them.

    Raises:
        UserError: the run or the Hub does not allow it; nothing that is not whole is left there.
    """
    run = open_run(name)
    others = _others(run, seeds)
    api, user = _connect()
    repo_id = _full_name(hub.repo_id or run.recipe.name, user)
    hub = _as_before(api, repo_id, hub)
    with tempfile.TemporaryDirectory(prefix="finetune-push-") as aside:
        folder = Path(aside)
        facts = Facts(
            run.recipe,
            run.metrics,
            run.has_code,
            run.labels,
            repo_id,
            hub.license,
            hub.languages or (),
            _data_license(api, run),
            others,
        )
        for note in stage(run, facts, folder):
            print(f"push: {note}", flush=True)
        scan(folder, repo_id.split("/")[0])
        check(folder, reference_outputs.read(run.folder), run.has_code)
        with _plain_uploads(), _words(repo_id, user):
            send(api, repo_id, hub, folder, run.recipe.task)


def after_run(folder: Path, hub: Hub) -> None:
    """Push the run that has just finished; whatever goes wrong is told, with the command for later.

    A signal ends the push, too: the run is finished, and must not be started again for it.
    """
    try:
        push(str(folder), hub)
    except (Exception, Interrupted, KeyboardInterrupt) as error:  # nothing that a push meets may fail a finished run
        told = str(error) if isinstance(error, UserError) else reason(error)
        told = "it was stopped" if isinstance(error, (Interrupted, KeyboardInterrupt)) else told
        print(f"the run is finished, its model was not pushed: {told}; later: {command(folder, hub)}", file=sys.stderr)


def command(folder: Path, hub: Hub) -> str:
    """The command that pushes the run in `folder` as `hub` says."""
    words = ["finetune", "push", str(folder), hub.repo_id or "REPO_ID"]
    words += [f"--{name.replace('_', '-')}" for name in ("private", "create_pr", "overwrite") if getattr(hub, name)]
    for name in ("revision", "tag", "license"):
        words += [f"--{name}", getattr(hub, name)] if getattr(hub, name) else []
    return shlex.join([*words, *(["--languages", *hub.languages] if hub.languages else [])])


def _others(run: Run, names: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Seed -> metrics of the other runs, which have to be the same but for it."""
    others: dict[int, dict[str, Any]] = {}
    for name in names:
        other = open_run(name)
        if other.folder.resolve() == run.folder.resolve():  # as runs/seed* names it, too
            continue
        changed = [
            line
            for line in run_folder.differences(run.recipe, other.recipe)
            if line.split(" ")[0] not in ("name", "train.seed")
        ]
        if changed:
            raise UserError(f"seeds: {name} differs from {run.folder} in more than the seed: {'; '.join(changed)}")
        seed = other.recipe.train.seed
        if seed == run.recipe.train.seed or seed in others:
            raise UserError(f"seeds: {name} has the seed {seed}, which another of these runs has; give each its own")
        others[seed] = other.metrics
    return others


def _connect() -> tuple[HfApi, dict[str, Any]]:
    """The Hub, and who is logged in there; with time limits, so that nobody waits for ever."""
    if constants.HF_HUB_OFFLINE:
        raise UserError("push: HF_HUB_OFFLINE is set, and this needs the network; unset it")
    if get_token() is None:
        raise UserError(f"push: {hub_errors.told(LocalTokenNotFoundError())}")
    get_session().timeout = SECONDS
    api = HfApi()
    try:
        user = again(api.whoami, WAITS[:1])
    except hub_errors.HUB_ERRORS as error:
        if hub_errors.status_of(error) == 404:  # a server that knows repositories and no users
            return api, {}
        raise UserError(f"push: {hub_errors.told(error)}") from error
    if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise UserError(f"push: the token of {user.get('name')} may read only; make one with write access, and log in")
    return api, user


def _full_name(repo_id: str, user: dict[str, Any]) -> str:
    if "/" in repo_id:
        return repo_id
    if "name" not in user:
        raise UserError(f"push: whose is {repo_id}? Give user/{repo_id}")
    return f"{user['name']}/{repo_id}"


def _as_before(api: HfApi, repo_id: str, hub: Hub) -> Hub:
    """`hub` with the licence and the languages that the card there gives, where it says neither."""
    try:
        with tempfile.TemporaryDirectory() as aside:
            file = api.hf_hub_download(repo_id, CARD, revision=hub.revision, local_dir=aside)
            there: Any = ModelCard(Path(file).read_text(encoding="utf-8"), ignore_metadata_errors=True).data
    except hub_errors.HUB_ERRORS:  # there is none, or none that can be read
        return hub
    told = [there.language] if isinstance(there.language, str) else there.language or []
    languages = tuple(code for code in told if LANGUAGE.fullmatch(str(code))) or None
    license = there.license if there.license != UNKNOWN_LICENSE else None
    return replace(hub, license=hub.license or license, languages=hub.languages or languages)


def _data_license(api: HfApi, run: Run) -> str | None:
    """What the card of a Hub data set says; nothing where there is none, or it cannot be read."""
    source = run.recipe.data.source
    if "data.source" not in run.metrics.get("revisions", {}):
        return None
    try:
        card = api.dataset_info(source, revision=run.recipe.data.revision).card_data
    except hub_errors.HUB_ERRORS:
        return None
    told = card.get("license") if card else None
    return ", ".join(told) if isinstance(told, list) else told


@contextlib.contextmanager
def _plain_uploads() -> Iterator[None]:
    """Upload by LFS to a server that is not Hugging Face's own: none of the others has its Xet."""
    host = urlparse(constants.ENDPOINT).hostname or ""
    before = constants.HF_HUB_DISABLE_XET
    if not host.endswith(("huggingface.co", "hf.co")) and "HF_HUB_DISABLE_XET" not in os.environ:
        constants.HF_HUB_DISABLE_XET = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = before


@contextlib.contextmanager
def _words(repo_id: str, user: dict[str, Any]) -> Iterator[None]:
    """Tell in one line what the Hub refused."""
    try:
        yield
    except UserError:
        raise
    except hub_errors.HUB_ERRORS as error:
        told = hub_errors.told(error)
        if hub_errors.status_of(hub_errors.root_of(error)) == 403 and user:
            names = [user["name"], *(part["name"] for part in user.get("orgs", []))]
            told += f"; you are {names[0]}, and may write under {' and '.join(names)}"
        raise UserError(f"push: {repo_id}: {told}") from error
