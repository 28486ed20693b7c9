"""Streams and blocks: every token is predicted once, from what precedes it in its own document."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset

from pipeline.data.streams import EVALUATION_TOKENS, Blocks, Streams, Tokens
from pipeline.errors import UserError
from pipeline.models.recurrent.crf import IGNORED

END = 1


def tokens_of(lengths: list[int], running: bool = False) -> Tokens:
    """Documents of tokens that count up from 10, each with the end token behind; read back in pieces of three rows."""
    numbers = iter(range(10, 20_000))
    rows = [[*(next(numbers) for _ in range(length)), END] for length in lengths]
    columns = {
        "input_ids": pa.chunked_array(
            [pa.array(rows[at : at + 3], pa.list_(pa.int32())) for at in range(0, len(rows), 3)]
        ),
        "length": pa.array([len(row) for row in rows]),
        "words": pa.array([len(row) for row in rows]),
        "bytes": pa.array([2 * len(row) for row in rows]),
    }
    return Tokens(Dataset(pa.table(columns)), END, running)


def labels_by_track(streams: Streams) -> list[list[int]]:
    """Labels of each track over all windows, those that are ignored left out."""
    found: list[list[int]] = [[] for _ in range(streams.tracks)]
    for rows in streams.batches(streams.tracks):
        for track, labels in enumerate(streams.take(rows)["labels"]):
            found[track] += labels[labels != IGNORED].tolist()
    return found


@pytest.mark.parametrize("lengths", [[3, 1, 7, 0, 4, 5, 2], [40]])
def test_tokens_read_from_pieces_are_those_of_the_whole(lengths):
    tokens = tokens_of(lengths)
    whole = tokens.read(0, len(tokens))
    assert len(tokens) == sum(lengths) + len(lengths)
    for start in range(len(tokens)):
        for stop in range(start, len(tokens) + 1):
            assert tokens.read(start, stop).tolist() == whole[start:stop].tolist()
    assert tokens.read(-1, 2).tolist() == [END, *whole[:2]]
    assert tokens.counts["tokens"].tolist() == [length + 1 for length in lengths]
    assert {name: sum(counts) for name, counts in tokens.counts.items()} == {
        "tokens": len(tokens),
        "words": len(tokens),
        "bytes": 2 * len(tokens),
    }


@pytest.mark.parametrize("tracks", [1, 2, 3, 4])
@pytest.mark.parametrize("window", [1, 4, 7, 100])
@pytest.mark.parametrize("running", [False, True])
def test_tracks_hold_every_token_once_in_order_and_the_short_end_is_kept(tracks, window, running):
    tokens = tokens_of([3, 1, 7, 0, 4, 5, 2], running)
    streams = Streams(tokens, tracks, window, at_borders=False)
    found = labels_by_track(streams)
    assert [*itertools.chain(*found)] == tokens.read(0, len(tokens)).tolist()
    assert max(map(len, found)) - min(map(len, found)) <= 1
    assert streams.lengths.sum() == len(tokens)


def test_inputs_are_the_tokens_before_the_labels():
    tokens = tokens_of([3, 5, 4])
    for rows in (streams := Streams(tokens, 2, 4, at_borders=False)).batches(2):
        arrays = streams.take(rows)
        for inputs, labels in zip(arrays["input_ids"], arrays["labels"], strict=True):
            real = labels[labels != IGNORED]
            assert inputs[1 : len(real)].tolist() == real[:-1].tolist()
    first = streams.take(np.array([0]))
    assert first["input_ids"][0].tolist() == [END, 10, 11, 12]


def test_positions_are_zero_where_a_document_or_a_track_begins_and_nowhere_else():
    streams = Streams(tokens_of([3, 5, 4]), 1, 100, at_borders=True)
    assert streams.take(np.array([0]))["position_ids"][0].tolist() == [*range(4), *range(6), *range(5)]
    running = Streams(tokens_of([3, 5, 4], running=True), 2, 3, at_borders=False)
    windows = [running.take(rows) for rows in running.batches(2)]
    assert windows[0]["position_ids"].tolist() == [[0, 1, 2]] * 2
    assert all("position_ids" not in window for window in windows[1:])


@pytest.mark.parametrize("tracks", [1, 2, 3, 10])
def test_for_scoring_tracks_are_cut_only_between_documents(tracks):
    tokens = tokens_of([3, 1, 7, 0, 4, 5, 2])
    found = labels_by_track(Streams(tokens, tracks, 4, at_borders=True))
    assert [*itertools.chain(*found)] == tokens.read(0, len(tokens)).tolist()
    assert len(found) <= tracks
    assert all(labels[-1] == END for labels in found)
    assert Streams(tokens_of([3, 5], running=True), tracks, 4, at_borders=True).tracks == 1


def test_too_few_tokens_for_the_rows_of_an_update_are_refused():
    with pytest.raises(UserError, match=r"train\.batch_size: 9 tokens are too few for 5 rows in an update"):
        Streams(tokens_of([8]), 5, 4, at_borders=False)


@pytest.mark.parametrize("length", [1, 4, 5, 100])
@pytest.mark.parametrize("stride", [None, 1, 2])
@pytest.mark.parametrize("running", [False, True])
def test_blocks_score_every_token_once_with_the_promised_context(length, stride, running):
    if stride and stride > length:
        pytest.skip("a stride longer than the block")
    tokens = tokens_of([3, 1, 7, 0, 4, 5, 2], running)
    blocks = Blocks(tokens, length, stride)
    whole, found = tokens.read(0, len(tokens)).tolist(), []
    for row in range(len(blocks)):
        arrays = blocks.take(np.array([row]))
        labels = arrays["labels"][0]
        scored = np.flatnonzero(labels != IGNORED)
        found += labels[scored].tolist()
        assert len(labels) <= length
        if stride:  # what precedes the first scored token: the rest of the block, or all of the document
            at = len(found) - len(scored)
            begun = 0 if running else tokens.borders[np.searchsorted(tokens.borders, at, side="right") - 1]
            assert scored[0] >= min(length - stride, at - begun)
    assert found == whole


def test_the_order_of_blocks_depends_only_on_seed_and_epoch():
    blocks = Blocks(tokens_of([30, 20, 40]), 4, None)
    orders = [np.concatenate(blocks.updates(3, *key)).tolist() for key in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) == 3
    assert all(sorted(order) == list(range(len(blocks))) for order in orders)


def test_an_evaluation_batch_has_a_maximum_number_of_tokens_however_many_rows_are_asked_for():
    blocks = Blocks(tokens_of([5000, 3, 900]), 300, 150)
    assert max(len(rows) * blocks.lengths[rows].max() for rows in blocks.batches(10**6)) <= EVALUATION_TOKENS
    assert sorted(np.concatenate(blocks.batches(10**6)).tolist()) == list(range(len(blocks)))
    assert max(len(rows) for rows in Blocks(tokens_of([9000]), 4096, 2048).batches(8)) == 1
