"""Texts as one long stream of tokens, read in windows that continue one another, or in independent blocks.

Each document ends with the end token, which also precedes the first word of the next one: every token is predicted
once, the first word of a text from the end token alone.

Shapes: N rows (windows or blocks) of a split, B rows of a batch, T tokens of its longest row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipeline.data.bucketing import Split, evaluation_batches
from pipeline.data.rows import numpy_column
from pipeline.errors import UserError
from pipeline.models.recurrent.crf import IGNORED

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

# Maximum number of tokens in a forward pass of an evaluation: each has a row of logits as wide as the vocabulary.
EVALUATION_TOKENS = 2048

Arrays = dict[str, np.ndarray]


class _Lists:
    """The elements of a column of lists, one list after another, on disk.

    Arrow has a column in chunks; element e is in the chunk whose start is the last one <= e.
    """

    def __init__(self, column: pa.ChunkedArray, width: int = 1):
        """`width`: numbers of an element, which then is a row of an array (elements, width)."""
        self._parts = [chunk.flatten().to_numpy() for chunk in column.chunks]
        if width > 1:
            self._parts = [part.reshape(-1, width) for part in self._parts]
        self._starts = np.cumsum([0, *map(len, self._parts)])
        self.none = np.zeros((0, width), np.float32)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, start: int, stop: int) -> list[np.ndarray]:
        """Elements from `start`, at least 0, to `stop`, in parts."""
        first, found = int(np.searchsorted(self._starts, start, side="right")) - 1, []
        for part, begins in zip(self._parts[first:], self._starts[first:], strict=False):
            if begins >= stop:
                break
            found.append(part[max(start - begins, 0) : stop - begins])
        return found


class Tokens:
    """The tokens of a split in their order, on disk, with the counts that perplexities need.

    Attributes:
        borders: (documents + 1,) where each document begins, and the end; a running text is one document.
        running: whether the rows of the data are lines of one text.
        counts: tokens, words and bytes of each row of the data, (rows,) each. A row counts one word more than it has,
            for its end, as published perplexities per word do, and one byte more, for its line break.
        answers: what a teacher says at each token, (tokens, numbers), if the rows have a column `teacher`.
    """

    def __init__(self, dataset: Dataset, end: int, running: bool):
        self._ids = _Lists(dataset.data.column("input_ids"))
        self._end, self.running = end, running
        self.answers: _Lists | None = None
        if "teacher" in dataset.column_names:
            column = dataset.data.column("teacher")
            numbers = sum(len(chunk.flatten()) for chunk in column.chunks)
            self.answers = _Lists(column, numbers // max(len(self._ids), 1))
        names = {"tokens": "length", "words": "words", "bytes": "bytes"}
        self.counts = {name: numpy_column(dataset, column) for name, column in names.items()}
        lengths = self.counts["tokens"]
        self.borders = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        if running:
            self.borders = self.borders[[0, -1]]

    def __len__(self) -> int:
        return len(self._ids)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Tokens from `start` to `stop`, int64; the one before the first is the end token."""
        # `start` is -1 for the inputs of the first window: the token before the text is an end token.
        before = np.full(-min(start, 0), self._end, np.int64)
        return np.concatenate([before, *self._ids.read(max(start, 0), stop)]).astype(np.int64)

    def documents(self, start: int, stop: int) -> np.ndarray:
        """(stop - start,) number of the document that each token belongs to."""
        return np.searchsorted(self.borders, np.arange(start, stop), side="right") - 1


def _stack(tokens: Tokens, spans: list[tuple[int, int]]) -> Arrays:
    """Inputs and labels (B, T) of `spans`; shorter ones are padded on the right with end tokens, whose labels are
    ignored. If a teacher has answered, also `teacher` (B, T, numbers), what it says about each label, padded with 0."""
    width = max(1, *(stop - start for start, stop in spans))
    arrays = {
        "input_ids": np.full((len(spans), width), tokens._end),
        "labels": np.full((len(spans), width), IGNORED),
    }
    for row, (start, stop) in enumerate(spans):
        if stop > start:
            read = tokens.read(start - 1, stop)  # one more: the label of a token is the one after it
            arrays["input_ids"][row, : stop - start], arrays["labels"][row, : stop - start] = read[:-1], read[1:]
    if tokens.answers is not None:
        answers = [np.concatenate([tokens.answers.none, *tokens.answers.read(*span)]) for span in spans]
        arrays["teacher"] = np.stack([np.pad(own, ((0, width - len(own)), (0, 0))) for own in answers])
    return arrays


class Streams(Split):
    """A split cut into parallel tracks; a row is a window of a track and continues the previous window.

    For truncated back-propagation through time (Mikolov et al. 2010; Merity et al. 2018): row `w * tracks + t` is
    window w of track t, so a batch holds a window of each track, always in the same order, and the hidden state of one
    batch is the initial state of the next. Positions are given if a document or a track begins in one of the windows:
    the model resets the state where a position is zero.

    Attributes:
        lengths: (N,) tokens of each row.
        tracks: number of tracks.
    """

    carries: ClassVar[bool] = True

    def __init__(self, tokens: Tokens, tracks: int, window: int, at_borders: bool):
        """`at_borders`: cut only between documents, into at most `tracks`. Every token is then predicted from all that
        precedes it in its document, and scores do not depend on the number of tracks."""
        self._tokens, self._window = tokens, window
        cuts = np.linspace(0, len(tokens), tracks + 1).round().astype(np.int64)
        if at_borders:  # the next border at or after each cut; several cuts may meet at one
            cuts = np.unique(tokens.borders[np.searchsorted(tokens.borders, cuts)])
        elif len(tokens) < 2 * tracks:
            raise UserError(
                f"train.batch_size: {len(tokens)} tokens are too few for {tracks} rows in an update; lower it"
            )
        self._cuts, self.tracks = cuts, len(cuts) - 1
        count = -(-int(np.diff(cuts).max(initial=0)) // window)  # windows of the longest track, rounded up
        # Shorter tracks end with empty windows, where begin == stop: batches keep a row for each track.
        begins = cuts[:-1] + np.arange(count)[:, None] * window  # (windows, tracks)
        self._stops = np.minimum(begins + window, cuts[1:]).flatten()
        self._begins = np.minimum(begins.flatten(), self._stops)
        self.lengths = (self._stops - self._begins).astype(np.int32)
        self._columns = {**tokens.counts, "starts": self._begins, "context": "all of the text before", "stride": 1}
        self._columns |= {"running": tokens.running}

    def updates(self, rows_per_update: int, seed: int, epoch: int) -> list[np.ndarray]:
        """A window of each track for each update, in the order of the text, which no seed changes."""
        assert rows_per_update == self.tracks
        return self.batches(rows_per_update)

    def batches(self, batch_size: int) -> list[np.ndarray]:
        """A window of each track for each batch; the tracks are laid out already, so `batch_size` is not used."""
        return list(np.arange(len(self)).reshape(-1, self.tracks))

    def take(self, rows: np.ndarray) -> Arrays:
        """Inputs and labels (B, T), and positions (B, T) if one of them is zero."""
        spans = [(int(self._begins[row]), int(self._stops[row])) for row in rows]
        arrays = _stack(self._tokens, spans)
        positions = np.ones_like(arrays["labels"])
        for row, (track, (start, stop)) in enumerate(zip(rows % self.tracks, spans, strict=True)):
            # Positions count from the beginning of the document, or of the track if that cuts the document.
            begun = np.maximum(self._tokens.borders[self._tokens.documents(start, stop)], self._cuts[track])
            positions[row, : stop - start] = np.arange(start, stop) - begun
        return {**arrays, "position_ids": positions} if (positions == 0).any() else arrays

    def columns(self, names: Sequence[str]) -> dict[str, Any]:
        """By name: tokens, words and bytes of each row of the data; `starts`, (N,), the number of the first token that
        each window scores; the context and stride with which tokens are predicted; and `running`, see `Tokens`."""
        return {name: self._columns[name] for name in names}


class Blocks(Split):
    """A split cut into independent rows of up to `length` tokens.

    For training, each token is predicted once, and several documents may share a block: positions restart with each of
    them, and attention stays within it. For evaluation, a block has one document and slides by `stride`: each token is
    scored once, with at least `length - stride` tokens before it unless its document has fewer.

    Attributes:
        lengths: (N,) tokens of each row, including those that are only context.
    """

    def __init__(self, tokens: Tokens, length: int, stride: int | None):
        """`stride`: None for training."""
        self._tokens, self._packed = tokens, stride is None and len(tokens.borders) > 2
        # Training ignores borders between documents here, and masks attention across them in `_apart`.
        ends = tokens.borders if stride is not None else np.array([0, len(tokens)])
        spans = [
            span
            for start, stop in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)
            for span in slide(start, stop, length, length if stride is None else stride)
        ]
        self._spans = np.array(spans)  # (N, 3): start of the row, start of its scoring, end of both
        self.lengths = (self._spans[:, 2] - self._spans[:, 0]).astype(np.int32)
        self._columns = {**tokens.counts, "starts": self._spans[:, 1], "context": length, "stride": stride or length}
        self._columns |= {"running": tokens.running}

    def updates(self, rows_per_update: int, seed: int, epoch: int) -> list[np.ndarray]:
        """Row numbers of each update of an epoch, in an order that depends only on the seed and the epoch."""
        order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(len(self))
        return [order[start : start + rows_per_update] for start in range(0, len(order), rows_per_update)]

    def batches(self, batch_size: int) -> list[np.ndarray]:
        """See `evaluation_batches`; a batch has at most EVALUATION_TOKENS tokens."""
        most = max(1, EVALUATION_TOKENS // int(self.lengths.max(initial=1)))
        return evaluation_batches(self.lengths, min(batch_size, most))

    def take(self, rows: np.ndarray) -> Arrays:
        """Inputs and labels (B, T), and if documents share a block, positions (B, T) and a mask (B, 1, T, T)."""
        spans = self._spans[rows]
        arrays = _stack(self._tokens, [(start, stop) for start, _, stop in spans.tolist()])
        for row, (start, scored, _) in enumerate(spans):
            arrays["labels"][row, : scored - start] = IGNORED
        return {**arrays, **self._apart(spans, arrays["labels"].shape)} if self._packed else arrays

    def columns(self, names: Sequence[str]) -> dict[str, Any]:
        """See `Streams.columns`."""
        return {name: self._columns[name] for name in names}

    def _apart(self, spans: np.ndarray, shape: tuple[int, ...]) -> Arrays:
        """Positions within the document, and the mask of what each token attends to: itself and what is before it in
        its document. Padding is a separate document (-1), so no row of the mask is empty."""
        documents, positions = np.full(shape, -1), np.tile(np.arange(shape[1]), (shape[0], 1))
        for row, (start, _, stop) in enumerate(spans.tolist()):
            found = self._tokens.documents(start, stop)
            documents[row, : stop - start] = found
            begun = np.maximum(self._tokens.borders[found], start)  # the block may begin within a document
            positions[row, : stop - start] = np.arange(start, stop) - begun
        same = documents[:, :, None] == documents[:, None, :]  # (B, T, T): query and key are of one document
        return {"position_ids": positions, "attention_mask": (same & np.tri(shape[1], dtype=bool))[:, None]}


def slide(start: int, stop: int, length: int, stride: int) -> list[tuple[int, int, int]]:
    """Windows over a document: where each begins, where its scoring begins, where it ends.

    The first scores all its tokens, each later one the next `stride`, with the tokens before them as context.
    """
    spans, scored = [], start
    while scored < stop:
        end = min(scored + (length if scored == start else stride), stop)
        spans.append((max(start, end - length), scored, end))
        scored = end
    return spans
