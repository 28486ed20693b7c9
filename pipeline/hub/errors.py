"""What went wrong with the Hub, in words for a person: what it was, and what mends it."""

from __future__ import annotations

import re

from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)

from pipeline.errors import reason

# All that the Hub's client raises for what is no fault of ours; its uploads wrap what they meet in a RuntimeError.
HUB_ERRORS = (HTTPError, OSError, HFValidationError, RevisionResolutionError, ValueError, RuntimeError)

LOG_IN = "run `hf auth login` or set HF_TOKEN"
QUOTA = re.compile(r"quota|storage (?:limit|space|capacity)|limit reached|exceed\w* .*(?:storage|limit)", re.IGNORECASE)
NOT_REACHED = "the Hub cannot be reached at {endpoint}; look at the network, or at HF_ENDPOINT"

# What is raised -> what it means; the first that fits.
TOLD: list[tuple[type[Exception], str]] = [
    (LocalTokenNotFoundError, f"there is no token; {LOG_IN}"),
    (OfflineModeIsEnabled, "HF_HUB_OFFLINE is set, and this needs the network; unset it"),
    (GatedRepoError, "its owner asks for an agreement first; give it on the page of the repository"),
    (RevisionNotFoundError, "it has no such revision; look at its branches and tags"),
    (RepositoryNotFoundError, f"there is none of that name, or you may not read it; look at the name, or {LOG_IN}"),
]
# HTTP status -> what it means, where no exception of its own tells.
STATUS = {
    401: f"the token is not valid; {LOG_IN}",
    402: "the quota is used up; make room there, or ask for more",
    403: "the token has no right to do this; use one with write access to it",
    404: "the Hub answers that there is no such thing",
    408: "the Hub took too long to answer; try again later",
    409: "something of that name is there already",
    413: "the Hub takes no files of that size; ask for more room there",
    429: "too many requests were made; wait and try again",
    507: "the quota is used up; make room there, or ask for more",
}


def status_of(error: BaseException) -> int | None:
    """The HTTP status that `error` came with."""
    return getattr(getattr(error, "response", None), "status_code", None)


def root_of(error: BaseException) -> BaseException:
    """What an upload met, below the RuntimeError that it was wrapped in."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def is_passing(error: BaseException) -> bool:
    """Whether trying again may help: the server's own trouble, too many requests, or a broken connection."""
    error = root_of(error)
    status = status_of(error)
    if status is not None:
        return status in (408, 429) or status >= 500
    return isinstance(error, (HTTPError, ConnectionError, TimeoutError)) and not isinstance(error, OfflineModeIsEnabled)


def told(error: BaseException) -> str:
    """What `error` means and what mends it, as a part of our line."""
    error = root_of(error)
    status = status_of(error)
    if QUOTA.search(str(error)) and (status is None or status < 500) and status != 429:
        return STATUS[402]
    for kind, words in TOLD:
        if isinstance(error, kind):
            return words
    if status is not None:
        own = getattr(error, "server_message", None)
        said = f" (it says: {reason(ValueError(own))})" if own and status not in (401, 404) else ""
        if status >= 500 and status not in STATUS:
            return f"the Hub answers with an error of its own, {status}; try again later"
        return STATUS.get(status, f"the Hub answers with {status}") + said
    if isinstance(error, (HTTPError, ConnectionError, TimeoutError)) and not isinstance(error, HfHubHTTPError):
        return NOT_REACHED.format(endpoint=constants.ENDPOINT)
    if isinstance(error, LocalEntryNotFoundError):
        return "it was not fetched to this machine, and the Hub cannot be reached"
    return reason(error)
