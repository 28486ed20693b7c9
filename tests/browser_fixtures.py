"""A browser for the tests of pages: Chromium, which is installed if it is missing and this is root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    return next((found for found in map(shutil.which, NAMES) if found), None)


def install() -> str | None:
    """Install Chromium; returns why that is not possible, or None."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "Chromium is not installed, and only root can install it with apt-get"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for call in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        done = subprocess.run(["apt-get", "-qq", *call], env=environment, capture_output=True, text=True, check=False)
    return f"apt-get failed to install Chromium: {done.stderr.strip()[-300:]}" if done.returncode else None


@pytest.fixture(scope="module")
def browser() -> Iterator:
    api = pytest.importorskip("playwright.sync_api")
    reason = None if find_chromium() else install()
    if reason:
        pytest.skip(reason)
    with api.sync_playwright() as play:
        started = play.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield started
        started.close()
