"""The model in Keras 3: Embedding, bidirectional LSTM and Dense, on batches of similar length, made by hand."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from benchmarks.peers.side import Passes, Rows, Settings, known_words, read_recipe, read_rows

# Each batch is padded to the smallest of these lengths that holds it: a graph is compiled for each length.
LENGTHS = (8, 16, 24, 32, 48, 64, 128)
PADDING, UNKNOWN, KNOWN = 0, 1, 2
# Rows are sorted by length within a pool of this many batches, as ours are.
POOL = 50


class Batches(keras.utils.PyDataset):
    """Batches of similar length: of all rows once, in an order that is new in each epoch, or without `shuffle` as they
    stand."""

    def __init__(self, ids: list[list[int]], labels: Any, size: int, *, shuffle: bool) -> None:
        super().__init__()
        self._ids, self._labels, self._size, self._shuffle = ids, labels, size, shuffle
        self._lengths, self._random = np.array([len(row) for row in ids]), np.random.default_rng(0)
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        rows = self._random.permutation(len(self._ids)) if self._shuffle else np.argsort(self._lengths)
        pools = [rows[at : at + POOL * self._size] for at in range(0, len(rows), POOL * self._size)]
        pools = [pool[np.argsort(-self._lengths[pool], kind="stable")] for pool in pools]
        batches = [pool[at : at + self._size] for pool in pools for at in range(0, len(pool), self._size)]
        self._batches = [batches[at] for at in self._random.permutation(len(batches))] if self._shuffle else batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        rows = self._batches[index]
        longest = max(self._lengths[rows])
        ids = np.full((len(rows), next(length for length in LENGTHS if length >= longest)), PADDING, dtype=np.int32)
        for place, row in enumerate(rows):
            ids[place, : self._lengths[row]] = self._ids[row]
        return ids, self._labels[rows]


class Clock(keras.callbacks.Callback):
    """Starts and times each epoch."""

    def __init__(self, passes: Passes) -> None:
        super().__init__()
        self._passes = passes

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._passes.begin()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._passes.end()


def main() -> None:
    passes, recipe = Passes(), read_recipe()
    _use_one_thread()
    keras.utils.set_random_seed(recipe["train"]["seed"])
    train, test = (read_rows(recipe, split) for split in ("train", "test"))
    vocabulary = {word: number for number, word in enumerate(known_words(recipe, train), KNOWN)}
    labels = {label: number for number, label in enumerate(sorted({row["label"] for row in train}))}

    def batches(rows: Rows, *, shuffle: bool) -> Batches:
        ids = [[vocabulary.get(word, UNKNOWN) for word in row["text"].split()] for row in rows]
        targets = np.array([labels[row["label"]] for row in rows], dtype=np.int32)
        return Batches(ids, targets, recipe["train"]["batch_size"], shuffle=shuffle)

    model = build(recipe, len(vocabulary) + KNOWN, len(labels))
    scored = batches(test, shuffle=False)
    passes.ready("keras", {"tensorflow": "tensorflow_cpu"}.get(keras.backend.backend(), keras.backend.backend()))
    model.fit(batches(train, shuffle=True), epochs=recipe["train"]["epochs"], verbose=0, callbacks=[Clock(passes)])
    passes.score(share_right(model, scored))


def build(recipe: Settings, words: int, labels: int) -> keras.Model:
    """The last states of both directions are classified. GlobalMaxPooling1D would count padding."""
    own, optim = recipe["model"], recipe["optim"]
    model = keras.Sequential(
        [
            layers.Embedding(words, own["embedding_size"], mask_zero=True),
            layers.Dropout(own["embedding_dropout"]),
            layers.Bidirectional(layers.LSTM(own["hidden_size"])),
            layers.Dropout(own["dropout"]),
            layers.Dense(labels),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(
            optim["learning_rate"], weight_decay=optim["weight_decay"], global_clipnorm=optim["max_grad_norm"]
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def share_right(model: keras.Model, batches: Batches) -> float:
    """Accuracy on `batches`; as a metric of `compile`, it would cost time in each update."""
    right = [model.predict_on_batch(ids).argmax(-1) == labels for ids, labels in batches]
    return float(np.concatenate(right).mean())


def _use_one_thread() -> None:
    """Only TensorFlow has to be told here; JAX reads XLA_FLAGS."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(1)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)


if __name__ == "__main__":
    main()
