"""The Hub, asked once: where it cannot be reached, nobody waits for the minute that libraries spend on retries."""

from __future__ import annotations

import functools

import datasets
from huggingface_hub import constants, get_session
from huggingface_hub.errors import HTTPError

SECONDS = 5.0


@functools.cache
def go_offline_if_unreachable() -> None:
    """Let the libraries of this process look into their caches alone if the Hub does not answer."""
    if constants.HF_HUB_OFFLINE:
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except (OSError, HTTPError):
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
