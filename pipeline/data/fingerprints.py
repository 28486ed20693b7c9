"""What must not have changed when a run is resumed: its encoded rows, the names of its labels and its vocabulary.

Fingerprints are of values alone: another machine, cache or order of reading gives the same ones.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from pipeline.errors import listing
from pipeline.models.recurrent import RecurrentSeq2SeqTokenizer

# Columns that say nothing beyond `input_ids` and the order of the rows.
DERIVED = ("id", "length")


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of prepared data.

    Attributes:
        rows: split -> number of encoded rows, and a hash of them.
        labels: names of the classes in the order of their ids.
        vocabulary: number of tokens, and a hash of the tokens with their ids.
    """

    rows: Mapping[str, tuple[int, str]]
    labels: Sequence[str]
    vocabulary: tuple[int, str]

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"


def read(text: str) -> Fingerprints:
    """The fingerprints that `to_json` wrote.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: `text` is something else.
    """
    values = json.loads(text)
    rows = {split: (int(count), str(digest)) for split, (count, digest) in values["rows"].items()}
    count, digest = values["vocabulary"]
    return Fingerprints(rows, [str(label) for label in values["labels"]], (int(count), str(digest)))


def changes(before: Fingerprints, now: Fingerprints) -> list[str]:
    """What differs, as `train has 5 rows, had 4`; empty if nothing does."""
    rows = [_changed_rows(split, before.rows.get(split), now.rows.get(split)) for split in {**before.rows, **now.rows}]
    return [*filter(None, rows), *_changed_labels(before.labels, now.labels), *_changed_vocabulary(before, now)]


def _changed_rows(split: str, before: tuple[int, str] | None, now: tuple[int, str] | None) -> str | None:
    if before == now:
        return None
    counts = [0 if one is None else one[0] for one in (now, before)]
    return f"{split} has {counts[0]:,} rows, had {counts[1]:,}" if counts[0] != counts[1] else f"{split} has other rows"


def _changed_labels(before: Sequence[str], now: Sequence[str]) -> list[str]:
    return [] if before == now else [f"the labels are {listing(now)}, were {listing(before)}"]


def _changed_vocabulary(before: Fingerprints, now: Fingerprints) -> list[str]:
    (old_count, old), (count, new) = before.vocabulary, now.vocabulary
    if old == new:
        return []
    return [
        f"the vocabulary has {count:,} tokens, had {old_count:,}"
        if count != old_count
        else "the vocabulary has other tokens"
    ]


def of_vocabulary(tokenizer: PreTrainedTokenizerBase) -> tuple[int, str]:
    """Number of tokens, and a hash of them, their ids, the characters that the tokenizer knows and the tokens of source
    texts, if they are others."""
    vocabulary = sorted(tokenizer.get_vocab().items())
    parts = [vocabulary, tokenizer.init_kwargs.get("characters")]
    if isinstance(tokenizer, RecurrentSeq2SeqTokenizer):
        parts.append(sorted(tokenizer.source_tokenizer.get_vocab().items()))
    content = json.dumps(parts, ensure_ascii=True)
    return len(vocabulary), hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def of_file(file: Path) -> tuple[int, str]:
    """Number of rows, and a hash of them, of encoded rows in an Arrow stream; memory does not grow with the rows."""
    with pa.OSFile(str(file)) as source, pa.ipc.open_stream(source) as stream:
        return of_batches(stream)


def of_batches(batches: Iterable[pa.RecordBatch]) -> tuple[int, str]:
    """The same of encoded rows in batches; it does not depend on where one batch ends and the next begins."""
    count, columns = 0, dict[str, _Column]()
    for batch in batches:
        count += len(batch)
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            if name not in DERIVED:
                columns.setdefault(name, _Column()).add(values)
    whole = hashlib.blake2b(digest_size=16)
    for name in sorted(columns):
        whole.update(f"{name} {columns[name].hexdigest()}\n".encode())
    return count, whole.hexdigest()


class _Column:
    """The hash of a column: of its values one after another and, separately, of what separates them."""

    def __init__(self) -> None:
        self.count = 0
        self.values, self.lengths, self.missing = (hashlib.blake2b(digest_size=16) for _ in range(3))
        self.elements: _Column | None = None

    def add(self, values: pa.Array) -> None:
        if values.null_count:
            places = np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))
            self.missing.update((places + self.count).tobytes())
        self.count += len(values)
        values = values.drop_null()
        if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            self.lengths.update(np.diff(values.offsets.to_numpy()).astype(np.int64).tobytes())
            self.elements = self.elements or _Column()
            self.elements.add(values.flatten())
        elif pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            offsets, content = _bytes_of(values)
            self.lengths.update(np.diff(offsets).tobytes())
            self.values.update(content.data)
        else:
            self.values.update(np.ascontiguousarray(values.to_numpy(zero_copy_only=False)).data)

    def hexdigest(self) -> str:
        own = [part.hexdigest() for part in (self.values, self.lengths, self.missing)]
        return " ".join([str(self.count), *own, *([self.elements.hexdigest()] if self.elements else [])])


def _bytes_of(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of texts, and their bytes in UTF-8, one text after another."""
    if not len(texts):
        return np.zeros(1, np.int64), np.empty(0, np.uint8)
    texts = texts.cast(pa.large_string())
    _, places, content = texts.buffers()
    offsets = np.frombuffer(places, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    held = np.frombuffer(content, np.uint8) if content is not None else np.empty(0, np.uint8)
    return offsets, held[offsets[0] : offsets[-1]]
