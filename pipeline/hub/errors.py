"""Errors of the Hub explained to a user: what is wrong, and what to do about it."""

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

# Everything that the Hub client raises for reasons outside our code. Uploads wrap the cause in a RuntimeError.
HUB_ERRORS = (HTTPError, OSError, HFValidationError, RevisionResolutionError, ValueError, RuntimeError)

LOG_IN = "run `hf auth login` or set HF_TOKEN"
QUOTA = re.compile(r"quota|storage (?:limit|space|capacity)|limit reached|exceed\w* .*(?:storage|limit)", re.IGNORECASE)
QUOTA_EXCEEDED = "the storage quota is exceeded; delete files there, or ask for more"
UNREACHABLE = "the Hub cannot be reached at {endpoint}; check the network and HF_ENDPOINT"

# Exception -> explanation. The first match wins: some of these classes inherit from others.
EXPLANATIONS: list[tuple[type[Exception], str]] = [
    (LocalTokenNotFoundError, f"you are not logged in; {LOG_IN}"),
    (OfflineModeIsEnabled, "HF_HUB_OFFLINE is set, but this command needs the network; unset it"),
    (GatedRepoError, "the repository is gated; accept its conditions on its page"),
    (RevisionNotFoundError, "there is no such revision on the Hub; check its branches and tags"),
    (RepositoryNotFoundError, f"not found on the Hub; check the name (if it is private, {LOG_IN})"),
]
# HTTP status -> explanation, for errors without their own exception class.
STATUS_EXPLANATIONS = {
    401: f"the token is not valid; {LOG_IN}",
    402: QUOTA_EXCEEDED,
    403: "the token does not allow this; use one with write access to this repository",
    404: "not found on the Hub",
    408: "the Hub timed out; try again later",
    409: "the name is already taken",
    413: "a file is larger than the Hub accepts; ask for a higher limit",
    429: "too many requests; wait and try again",
    507: QUOTA_EXCEEDED,
}


def http_status(error: BaseException) -> int | None:
    """The HTTP status of the response behind `error`, if there was one."""
    return getattr(getattr(error, "response", None), "status_code", None)


def root_cause(error: BaseException) -> BaseException:
    """The error that an upload has wrapped in RuntimeErrors."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def is_transient(error: BaseException) -> bool:
    """Whether a retry may succeed: after a server error, too many requests, or a broken connection."""
    error = root_cause(error)
    status = http_status(error)
    if status is not None:
        return status in (408, 429) or status >= 500
    return isinstance(error, (HTTPError, ConnectionError, TimeoutError)) and not isinstance(error, OfflineModeIsEnabled)


def explain(error: BaseException) -> str:
    """What `error` means and what to do about it, to be put after the setting or repository that it concerns."""
    error = root_cause(error)
    status = http_status(error)
    if QUOTA.search(str(error)) and (status is None or status < 500) and status != 429:
        return QUOTA_EXCEEDED
    for kind, explanation in EXPLANATIONS:
        if isinstance(error, kind):
            return explanation
    if status is not None:
        return _explain_status(status, getattr(error, "server_message", None))
    if isinstance(error, (HTTPError, ConnectionError, TimeoutError)) and not isinstance(error, HfHubHTTPError):
        return UNREACHABLE.format(endpoint=constants.ENDPOINT)
    if isinstance(error, LocalEntryNotFoundError):
        return "not in the local cache, and the Hub cannot be reached"
    return reason(error)


def _explain_status(status: int, server_message: str | None) -> str:
    if status >= 500 and status not in STATUS_EXPLANATIONS:
        return f"the Hub answered with server error {status}; try again later"
    quoted = f" (it says: {reason(ValueError(server_message))})" if server_message and status not in (401, 404) else ""
    return STATUS_EXPLANATIONS.get(status, f"the Hub answered with status {status}") + quoted
