"""Fixtures for the tests of the Hub: a clean server with a logged-in user, and separate caches for each test."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from conftest import finetune
from hub_server import REAL_HUB, Hub
from huggingface_hub import HfApi, constants

from pipeline.hub import download
from pipeline.publish import push as pushing


class Place:
    """The Hub as a test sees it: who is logged in, and repositories that are deleted when the test ends."""

    def __init__(self, server: Hub, monkeypatch: pytest.MonkeyPatch):
        self.server, self._patch = server, monkeypatch
        self.made: list[tuple[str, str]] = []
        if not REAL_HUB:
            self.log_in("hf_of_alice")
        self.user = HfApi().whoami()["name"] if REAL_HUB else "alice"

    def log_in(self, token: str) -> None:
        self._patch.setenv("HF_TOKEN", token)

    def name(self, kind: str = "model") -> str:
        """The id of a repository that does not exist yet."""
        name = f"{self.user}/finetune-{uuid.uuid4().hex[:8]}"
        self.made.append((kind, name))
        return name

    @property
    def api(self) -> HfApi:
        return HfApi()

    def clean(self) -> None:
        for kind, name in self.made if REAL_HUB else []:
            HfApi().delete_repo(name, repo_type=kind, missing_ok=True)

    def finetune(self, *arguments: Any, **options: Any) -> Any:
        """The command in a separate process, with network."""
        return finetune(*arguments, **options)


@pytest.fixture
def hub(server: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Place]:
    """The Hub, empty, with alice of the organisation acme logged in, and caches of the test's own."""
    server.reset()
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    for name, module in (("HF_HUB_CACHE", constants), ("HF_DATASETS_CACHE", datasets.config)):
        monkeypatch.setenv(name, str(tmp_path / name))
        monkeypatch.setattr(module, name, str(tmp_path / name) if module is constants else tmp_path / name)
    download.go_offline_if_unreachable.cache_clear()
    place = Place(server, monkeypatch)
    yield place
    place.clean()
    download.go_offline_if_unreachable.cache_clear()


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the clean process in tests about something else, and the pauses between retries."""
    for check in ("verify_in_clean_process", "verify_export_in_clean_process"):
        monkeypatch.setattr(pushing, check, lambda *_: None)
    monkeypatch.setattr(time, "sleep", lambda _: None)


local_hub_only = pytest.mark.skipif(
    REAL_HUB, reason="the real Hub does not fail on demand, and has no other users for us"
)
