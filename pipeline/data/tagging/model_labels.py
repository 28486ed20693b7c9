"""The labels of a tagger as tags, whoever has trained it and however they are written."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence

from pipeline.config.tag_forms import form_of
from pipeline.data.tagging import tags

# Letter of BIOES -> those that stand for it in a model that lacks it, the best first.
INSTEAD = {"O": "O", "B": "BI", "I": "I", "E": "EI", "S": "SBEI"}


class ModelLabels:
    """What each label of a model means.

    A label without a prefix, such as PER or LABEL_0, is a type, whose neighbouring words are one entity.

    Attributes:
        tags: by id, the letter of BIOES and the type of the label; those of O are O and "".
        iob2: by id, the label as a tag of IOB2.
        types: of entities.
        scheme: iob2 or bioes, that of the targets.
        has_begin: whether each type has a label that begins an entity, as in IOB2; in IOB1 an entity begins with I.
    """

    def __init__(self, labels: Sequence[str]):
        form = form_of(Counter(labels))
        standard = [(form.standard(label) if form else None) or f"I-{label}" for label in labels]
        self.tags = pairs = [tags.split(tag) for tag in standard]
        self._ids: dict[tuple[str, str], int] = {}
        for index, pair in enumerate(pairs):
            self._ids.setdefault(pair, index)
        self.iob2 = [prefix if prefix == "O" else f"{'B' if prefix in 'BS' else 'I'}-{kind}" for prefix, kind in pairs]
        self.types = tags.types(standard)
        self.scheme = tags.scheme_of(standard)
        self.has_begin = all(f"B-{kind}" in self.iob2 for kind in self.types)

    def id_of(self, prefix: str, kind: str) -> int | None:
        """The id of a tag, or of what comes nearest to it; None if the model has no label for the type, or for O.

        Args:
            prefix: O, B, I, E or S.
        """
        found = (self._ids.get((letter, kind)) for letter in INSTEAD[prefix])
        return next((index for index in found if index is not None), None)


@functools.lru_cache(maxsize=16)
def _read(labels: tuple[str, ...]) -> ModelLabels:
    return ModelLabels(labels)


def read(labels: Sequence[str]) -> ModelLabels:
    """What the `labels` of a model, by id, mean as tags."""
    return _read(tuple(labels))
