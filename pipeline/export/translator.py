"""Translates texts with the graphs beside this file, with numpy alone; runner.py loads it.

It searches as `generate` of transformers does, greedily or with beams, and writes the same tokens.
"""

# Shapes: B texts of a batch, S tokens of a text, K beams, L tokens written so far, V vocabulary, C candidates.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import numpy as np

ROWS = 32  # of a batch
LARGEST_PENALTY = 10.0  # scores are divided by the length to this power, and a much larger one overflows
NEVER = np.float32(-1e9)  # the score of what must not be chosen
Arrays = dict[str, np.ndarray]


class Translator:
    """Two graphs with their tokenizer: an encoder, whose outputs are inputs of the decoder, and the decoder, which
    reads the tokens written last and what it has kept of those before. `settings` are what export.json says. Without a
    `source_tokenizer`, both sides have the same one."""

    def __init__(
        self, settings: Mapping[str, Any], tokenizer: Any, encoder: Any, decoder: Any, source_tokenizer: Any = None
    ):
        self.settings, self.tokenizer, self.encoder, self.decoder = settings, tokenizer, encoder, decoder
        self.source_tokenizer = source_tokenizer or tokenizer
        self.generation: dict[str, Any] = settings["generation"]
        self.inputs = {value.name: value.shape for value in decoder.get_inputs()}
        kept = {value.name for value in decoder.get_outputs()}
        # What the decoder keeps: its name as an input -> as an output.
        self.kept = {name: new for name in self.inputs if (new := f"present.{name.partition('.')[2]}") in kept}
        self.source_tokenizer.no_padding()
        self.source_tokenizer.no_truncation()

    def __call__(
        self,
        texts: Sequence[str],
        beams: int | None = None,
        length_penalty: float | None = None,
        n_best: int | None = None,
    ) -> list[dict[str, Any]]:
        """The `translation` of each text, and with `n_best` that many `translations`, the best first, with the scores
        of beams. A text without words has none."""
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("this model translates single texts; give one text a row")
        usual = max(self.generation["num_beams"], n_best or 1)
        given: dict[str, Any] = {"num_beams": usual if beams is None else beams}
        if length_penalty is not None:
            given["length_penalty"] = length_penalty
        _check(given, n_best)
        nothing: dict[str, Any] = {"translation": "", **({} if n_best is None else {"translations": []})}
        answers = [{"text": text, **nothing} for text in texts]
        rows = [row for row, text in enumerate(texts) if text.strip()]
        encoded = self._encoded([texts[row] for row in rows])
        order = sorted(range(len(rows)), key=lambda row: -len(encoded[row]))
        for start in range(0, len(order), ROWS):
            chosen = order[start : start + ROWS]
            found = self.search([encoded[row] for row in chosen], **given)
            for row, (written, scores) in zip(chosen, found, strict=True):
                best = self.tokenizer.decode_batch(written[: n_best or 1], skip_special_tokens=True)
                best = [text.strip() for text in best]
                answers[rows[row]]["translation"] = best[0]
                if n_best is not None:
                    pairs = zip(best, scores, strict=False)
                    answers[rows[row]]["translations"] = [{"text": text, "score": score} for text, score in pairs]
        return answers

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, behind the prefix of all. A long text is cut, and keeps special tokens at its end."""
        longest, special = self.settings["max_length"], {*self.settings["special"]}
        rows = []
        for own in self.source_tokenizer.encode_batch_fast([self.settings["prefix"] + text for text in texts]):
            ids = own.ids
            if longest is not None and len(ids) > longest:
                ends = sum(1 for _ in takewhile(special.__contains__, reversed(ids)))
                ids = ids[: longest - ends] + ids[len(ids) - ends :]
            rows.append(ids)
        return rows

    def search(self, rows: Sequence[Sequence[int]], **given: Any) -> list[tuple[list[list[int]], list[float | None]]]:
        """What is written for each of the `rows` of ids: the best first, each with its score if there are beams.

        `given` are settings of the search in place of those of the model.
        """
        generation = {**self.generation, **given}
        beams = generation["num_beams"]
        source = self._read(rows)
        source = {name: values.repeat(beams, axis=0) for name, values in source.items()}
        if beams == 1:
            return [([ids], [None]) for ids in self._greedy(source, generation).tolist()]
        ids, scores = self._beams(source, generation)
        return list(zip(ids.tolist(), scores.tolist(), strict=True))

    def _read(self, rows: Sequence[Sequence[int]]) -> Arrays:
        """What the decoder reads of the texts: their mask and the outputs of the encoder."""
        ids = np.full((len(rows), max(map(len, rows))), self.settings["tokens"]["pad"])
        mask = np.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row)], mask[number, : len(row)] = row, 1
        names = [value.name for value in self.encoder.get_outputs()]
        found = dict(zip(names, self.encoder.run(names, {"input_ids": ids, "attention_mask": mask}), strict=True))
        return {"encoder_attention_mask": mask, **found}

    def _next(self, tokens: np.ndarray, state: Arrays) -> np.ndarray:
        """Logits (N, V) after the `tokens` (N, 1), which follow `state`, which is updated."""
        for name in self.kept.keys() - state:  # zeros, or keys and values of no tokens
            sizes = (size if isinstance(size, int) else 0 for size in self.inputs[name][1:])
            state[name] = np.zeros((len(tokens), *sizes), dtype=np.float32)
        feeds = {"input_ids": tokens, **{name: values for name, values in state.items() if name in self.inputs}}
        logits, *new = self.decoder.run(["logits", *self.kept.values()], feeds)
        state.update(zip(self.kept, new, strict=True))
        found: np.ndarray = logits[:, -1]
        return found

    def _greedy(self, state: Arrays, generation: Mapping[str, Any]) -> np.ndarray:
        """The ids (B, L), with padding behind the end token."""
        ids = np.full((len(state["encoder_attention_mask"]), 1), generation["start"])
        runs = np.ones(len(ids), dtype=bool)
        while runs.any() and ids.shape[1] < generation["max_length"]:
            scores = _constrained(self._next(ids[:, -1:], state), ids, generation)
            best = np.where(runs, scores.argmax(axis=-1), generation["pad"])
            ids = np.append(ids, best[:, None], axis=1)
            runs &= ~np.isin(best, generation["ends"])
        return ids

    def _beams(self, state: Arrays, generation: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """The ids (B, K, L) of the best translations and their scores (B, K)."""
        beams = Beams(len(state["encoder_attention_mask"]) // generation["num_beams"], generation)
        while len(beams.texts):
            written = beams.written
            scores = _log_softmax(self._next(written[:, -1:], state))
            origins = beams.extend(_constrained(scores, written, generation))
            # What is read of a text is the same for all of its beams, and changes only when a text is put aside.
            for name in self.kept if len(origins) == len(written) else state:
                state[name] = state[name][origins]
        return beams.found, beams.found_scores


class Beams:
    """The beams of B texts that need further tokens: those that go on, and the best that are done.

    Attributes:
        texts: (B,) their numbers.
        found, found_scores: of all texts, (N, K, max_length) ids and (N, K) scores, log-probabilities divided by length
            ** length_penalty.
    """

    def __init__(self, texts: int, generation: Mapping[str, Any]):
        self.generation, self.length, self.texts = generation, 1, np.arange(texts)
        self.count, self.longest, self.ends = (generation[name] for name in ("num_beams", "max_length", "ends"))
        self.stops_early, self.penalty = generation["early_stopping"] is True, generation["length_penalty"]
        shape = (texts, self.count)
        self.running, self.running_scores = np.full((*shape, self.longest), generation["pad"]), np.full(shape, NEVER)
        self.running[:, :, 0] = generation["start"]
        self.running_scores[:, 0] = 0  # at first all beams of a text are the same
        self.done, self.scores, self.is_done = self.running, np.full(shape, NEVER), np.zeros(shape, dtype=bool)
        self.found, self.found_scores = self.running.copy(), self.scores.copy()

    @property
    def written(self) -> np.ndarray:
        """The ids (B*K, L) of the beams that go on."""
        return self.running[:, :, : self.length].reshape(-1, self.length)

    def extend(self, log_probs: np.ndarray) -> np.ndarray:
        """Add a token to each beam, of which `log_probs` (B*K, V) are the log-probabilities, and put texts aside that
        need no more. Returns which of these rows each beam of the others continues."""
        texts, vocabulary = len(self.texts), log_probs.shape[-1]
        totals = (log_probs.reshape(texts, self.count, -1) + self.running_scores[:, :, None]).reshape(texts, -1)
        # Enough candidates that enough of them go on, even if each beam could end in all ways.
        best = _best(totals, max(2, 1 + len(self.ends)) * self.count)  # (B, C)
        candidates, scores = _at(self.running, best // vocabulary), _at(totals, best)
        candidates[:, :, self.length] = best % vocabulary
        stops = np.isin(candidates[:, :, self.length], self.ends) | (self.length + 1 >= self.longest)
        going_on = scores + stops * NEVER
        kept = _best(going_on, self.count)
        self.running, self.running_scores = _at(candidates, kept), _at(going_on, kept)
        self._finish(candidates, scores, stops)
        origins: np.ndarray = _at(best // vocabulary, kept) + np.arange(texts)[:, None] * self.count
        is_open = self._may_improve() & ~stops.all(axis=1) & ~(self.is_done.all(axis=1) & self.stops_early)
        self.length += 1
        self._close(~is_open)
        return origins[is_open].ravel()

    def _close(self, is_closed: np.ndarray) -> None:
        """Put aside the texts (B,) that need no further tokens."""
        closed = self.texts[is_closed]
        self.found[closed], self.found_scores[closed] = self.done[is_closed], self.scores[is_closed]
        for name in ("texts", "running", "running_scores", "done", "scores", "is_done"):
            setattr(self, name, getattr(self, name)[~is_closed])

    def _finish(self, candidates: np.ndarray, scores: np.ndarray, stops: np.ndarray) -> None:
        """Keep the best of what is done and of the first K candidates (B, C, max_length) that stop here."""
        is_new = stops & (np.arange(stops.shape[1]) < self.count)
        scores = np.append(self.scores, scores / np.float32(self.length**self.penalty) + NEVER * ~is_new, axis=1)
        kept = _best(scores, self.count)
        self.scores, self.done = _at(scores, kept), _at(np.append(self.done, candidates, axis=1), kept)
        self.is_done = _at(np.append(self.is_done, is_new, axis=1), kept)

    def _may_improve(self) -> np.ndarray:
        """(B,) whether a beam may still get a better score than the worst that is done, as transformers guesses."""
        is_hopeful = self.generation["early_stopping"] == "never" and self.penalty > 0
        length = self.longest - 1 if is_hopeful else self.length
        best = self.running_scores[:, :1] / np.float32(length**self.penalty)
        worst = np.where(self.is_done, self.scores.min(axis=1, keepdims=True), NEVER)
        found: np.ndarray = (best > worst).any(axis=1)
        return found


def _check(given: Mapping[str, Any], n_best: int | None) -> None:
    beams = given["num_beams"]
    if beams < 1 or (n_best is not None and n_best < 1):
        raise ValueError("beams, n-best: both must be at least 1")
    if n_best is not None and n_best > beams:
        raise ValueError(f"n-best: {beams} beams find no more than {beams} translations; raise beams, or lower it")
    penalty = given.get("length_penalty", 1.0)
    if not abs(penalty) <= LARGEST_PENALTY:
        least = -LARGEST_PENALTY
        raise ValueError(f"length-penalty: {penalty} is out of range; it must be from {least} to {LARGEST_PENALTY}")
    if "length_penalty" in given and beams == 1:
        raise ValueError("length-penalty: it compares beams, and there is only one; raise beams, or leave it out")


def _constrained(scores: np.ndarray, written: np.ndarray, generation: Mapping[str, Any]) -> np.ndarray:
    """The scores (N, V) of what may follow the tokens `written` (N, L); -inf for what may not."""
    scores, length = scores.copy(), written.shape[1]
    if size := generation["no_repeat_ngram_size"]:
        for row, ids in zip(scores, written.tolist(), strict=True):
            last = ids[length - size + 1 :]
            row[[ids[at + size - 1] for at in range(length - size + 1) if ids[at : at + size - 1] == last]] = -np.inf
    scores[:, generation["banned"]] = -np.inf
    if length < generation["min_length"]:
        scores[:, generation["ends"]] = -np.inf
    for place, token in ((1, generation["forced_start"]), (generation["max_length"] - 1, generation["forced_end"])):
        if token is not None and length == place:
            scores[:] = -np.inf
            scores[:, token] = 0
    return _log_softmax(scores) if generation["renormalize"] else scores


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """The places (B, count) of the highest `scores` (B, ...), the highest first."""
    places = np.argpartition(-scores, min(count, scores.shape[1]) - 1, axis=1)[:, :count]
    places.sort(axis=1)
    return np.take_along_axis(places, np.argsort(-_at(scores, places), axis=1, kind="stable"), axis=1)


def _at(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The `values` (B, N, ...) at the places (B, M)."""
    return values[np.arange(len(values))[:, None], places]
