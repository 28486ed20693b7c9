"""Which sequences of tags the tagging scheme of a model's labels allows: IOB2 and BIOES."""

# Shapes: C tags.

from __future__ import annotations

import functools
import re
from typing import NamedTuple

import torch

from .layout import has_values

TAG = re.compile(r"([BIMELSU])(?:-(.+))?")
# BIOES and its other spelling, BILOU, with M as another name for I: M = I, L = E, U = S.
CONTINUES = set("IMEL")  # only allowed after a B or I of the same type
UNFINISHED = set("BIM")  # in BIOES, the entity must continue
ONLY_IN_BIOES = set("MELSU")


class Constraints(NamedTuple):
    """What is forbidden: (C,) as the first tag, (C, C) from one tag (row) to the next (column), (C,) as the last tag;
    bool."""

    start: torch.Tensor
    transitions: torch.Tensor
    end: torch.Tensor


# Made once for each set of labels and device.
_KEPT: dict[tuple[tuple[str, ...], torch.device], Constraints] = {}


def read_constraints(labels: tuple[str, ...], device: torch.device) -> Constraints | None:
    """What the tagging scheme of `labels`, the names of the tags by id, forbids; None if they follow no scheme.

    - IOB2 (O, B-x, I-x): no I-x at the start, nor after anything but B-x or I-x.
    - BIOES (O, B-x, I-x, E-x, S-x, or M for I, L for E, U for S): no I-x or E-x at the start, nor after anything but
      B-x or I-x; no B-x or I-x at the end, nor before anything but I-x or E-x.

    Other sets of names have no constraints, and neither do those with a tag that no valid sequence could contain, such
    as I-x without B-x, which IOB1 uses.
    """
    kept = _KEPT.get((labels, device))
    if kept is not None:
        return kept
    forbidden = _forbidden(labels)
    if forbidden is None:
        return None
    with torch.inference_mode(False):  # a later call may need gradients
        made = Constraints(*(torch.tensor(part, device=device) for part in forbidden))
    # A tensor made while a graph is recorded, or under a transform of `torch.func`, is of no use afterwards.
    if has_values(made.start):
        _KEPT[labels, device] = made
    return made


@functools.lru_cache(maxsize=64)
def _forbidden(labels: tuple[str, ...]) -> tuple[list[bool], list[list[bool]], list[bool]] | None:
    """The values of [`Constraints`] for `labels`."""
    tags = _parse(labels)
    if tags is None:
        return None
    bioes = any(prefix in ONLY_IN_BIOES for prefix, _ in tags)
    continues = [prefix in CONTINUES for prefix, _ in tags]
    unfinished = [bioes and prefix in UNFINISHED for prefix, _ in tags]

    def is_forbidden(before: int, after: int) -> bool:
        is_open = tags[before][0] in UNFINISHED and tags[before][1] == tags[after][1]
        goes_on = is_open and continues[after]
        # After B-x or I-x of BIOES only a continuation is allowed; elsewhere, a continuation needs an open entity.
        return not goes_on if unfinished[before] else continues[after] and not goes_on

    size = range(len(tags))
    transitions = [[is_forbidden(before, after) for after in size] for before in size]
    return continues, transitions, unfinished


def _parse(labels: tuple[str, ...]) -> list[tuple[str, str | None]] | None:
    """Prefix and type of each tag; None unless all tags belong to one scheme and each can occur in a valid sequence."""
    names = [label for label in labels if label != "O"]
    found = [(match[1], match[2]) for match in map(TAG.fullmatch, names) if match]
    if not found or len(found) < len(names):
        return None
    prefixes: dict[str | None, set[str]] = {}
    for prefix, kind in found:
        prefixes.setdefault(kind, set()).add(prefix)
    bioes = any(prefix in ONLY_IN_BIOES for prefix, _ in found)
    for own in prefixes.values():
        unopened = bool(own & CONTINUES) and "B" not in own
        unclosed = bioes and "B" in own and not own & {"E", "L"}
        if unopened or unclosed:
            return None
    tags = iter(found)
    return [next(tags) if label != "O" else ("O", None) for label in labels]


__all__ = ["Constraints", "read_constraints"]
