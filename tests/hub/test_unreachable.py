"""The Hub is asked once: if it does not answer, the libraries look into their caches alone."""

from __future__ import annotations

import datasets
import pytest
from huggingface_hub import constants

from pipeline.hub import download


class Session:
    """Stands for the Hub client's session: what a test must not open."""

    def __init__(self, error: Exception | None):
        self.error, self.asked = error, 0

    def head(self, url: str, timeout: float) -> None:
        self.asked += 1
        if self.error:
            raise self.error


@pytest.mark.parametrize(
    ("before", "error", "asked", "after"),
    [(False, OSError("no route"), 1, True), (False, None, 1, False), (True, OSError("no route"), 0, True)],
)
def test_a_hub_that_does_not_answer_is_not_asked_again(monkeypatch, before, error, asked, after):
    session = Session(error)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", before)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", before)
    monkeypatch.setattr(download, "get_session", lambda: session)
    download.go_offline_if_unreachable.cache_clear()
    download.go_offline_if_unreachable()
    download.go_offline_if_unreachable()
    assert (session.asked, constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE) == (asked, after, after)
    download.go_offline_if_unreachable.cache_clear()
