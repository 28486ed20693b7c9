"""Answers texts with the model in this folder, with numpy, onnxruntime and tokenizers alone.

    python runner.py < texts.txt

prints a line of JSON for each line, as `finetune predict` does (pip install numpy onnxruntime tokenizers). In Python:

    from runner import load

    model = load("folder of the model")
    model(["a warm and funny film", "dull, and far too long"])

A text is a string. For a model of pairs of texts it is a list of two, and a tagger also reads lists of words.
"""

# Shapes: B rows of a batch, T time, C classes or tags, V vocabulary, W characters of a token, M words of a row.

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer, pre_tokenizers

FOLDER = Path(__file__).parent
OPTIONS = (
    ("generate", int, "for next_word: continue each text by N tokens"),
    ("beams", int, "for translation: search with N beams; 1 is greedy"),
    ("length_penalty", float, "for translation: prefer long translations, the more the higher N is"),
    ("n_best", int, "for translation: give N translations with their scores"),
)
PROVIDERS = ["CPUExecutionProvider"]  # a GPU needs the package onnxruntime-gpu and "CUDAExecutionProvider"
ROWS = 32  # of a batch
WINDOW = 32  # tokens that a language model reads at once: each has V logits
LINES = 1 << 20  # bytes of standard input that are read at once, if they are there

Row = dict[str, Sequence[Any]]
"""The `input_ids` of a row and, if the model reads them, its `token_type_ids` or `char_ids`."""


def load(folder: str | Path = FOLDER, threads: int = 1) -> Model:
    """The model in `folder`.

    Raises:
        ValueError: a file is missing or broken.
    """
    folder = Path(folder)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false" if threads == 1 else "true")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    file = folder / "export.json"
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        kind, graphs = _kind(settings["task"])
        tokenizer = Tokenizer.from_file(str(file := folder / "tokenizer.json"))
        opened = [onnxruntime.InferenceSession(file := folder / name, options, providers=PROVIDERS) for name in graphs]
        if own := settings.get("source_tokenizer"):  # tokenizer.json is that of translations then
            opened.append(Tokenizer.from_file(str(file := folder / own)))
    except Exception as error:  # each library has its own for a file that it cannot read
        raise ValueError(f"{file} cannot be loaded: {type(error).__name__}: {error}") from error
    return kind(settings, tokenizer, *opened)


def _kind(task: str) -> tuple[Any, tuple[str, ...]]:
    """The class of a model of `task`, and the names of its graphs."""
    if task == "translation":
        return _beside("translator").Translator, ("encoder.onnx", "decoder.onnx")
    return TASKS[task], ("model.onnx",)


def _beside(name: str) -> Any:
    """The module in the file `name`.py beside this one. It is there if the model needs it."""
    return importlib.import_module(f".{name}" if __package__ else name, __package__ or None)


class Model:
    """A graph with its tokenizer; `settings` are what export.json says."""

    def __init__(self, settings: dict[str, Any], tokenizer: Tokenizer, session: onnxruntime.InferenceSession):
        self.settings, self.tokens, self.max_length = settings, settings["tokens"], settings["max_length"]
        self.tokenizer, self.session = tokenizer, session
        self.inputs = {value.name: value.shape for value in session.get_inputs()}
        tokenizer.no_padding()
        tokenizer.no_truncation()

    def __call__(self, texts: Sequence[Any]) -> list[dict[str, Any]]:
        """An answer to each of `texts`."""
        raise NotImplementedError

    def logits(self, rows: Sequence[Row]) -> list[np.ndarray]:
        """What the graph says about each row. Rows of similar length are run together."""
        found: dict[int, np.ndarray] = {}
        order = sorted(range(len(rows)), key=lambda row: -len(rows[row]["input_ids"]))
        for start in range(0, len(order), ROWS):
            chosen = order[start : start + ROWS]
            (logits,) = self.session.run(["logits"], self.batch([rows[row] for row in chosen]))
            found.update(zip(chosen, logits, strict=True))
        return [found[row] for row in range(len(rows))]

    def batch(self, rows: Sequence[Row]) -> dict[str, np.ndarray]:
        """The rows as inputs (B, T) of the graph, padded to the longest."""
        lengths = [len(row["input_ids"]) for row in rows]
        time, is_left = max(1, *lengths), self.tokens["padding_side"] == "left"
        shape, typed = (len(rows), time), "token_type_ids" in rows[0]
        batch = {"input_ids": np.full(shape, self.tokens["pad"]), "attention_mask": np.zeros(shape, dtype=np.int64)}
        if "token_type_ids" in self.inputs:
            batch["token_type_ids"] = np.full(shape, self.tokens["pad_type"] if typed else 0)
        if "char_ids" in self.inputs:
            batch["char_ids"] = np.zeros((*shape, self.settings["characters"]["width"]), dtype=np.int64)
        for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            place = slice(time - length, time) if is_left else slice(length)
            for name, values in row.items():
                batch[name][number, place] = values
            batch["attention_mask"][number, place] = 1
        return batch


class TextModel(Model):
    """One answer for each text or pair of texts: a label, several labels, or a number."""

    def __init__(self, *parts: Any):
        super().__init__(*parts)
        self.long_texts = self.settings["long_texts"]
        if self.max_length and self.long_texts["how"] != "head+tail":
            stride, side = self.long_texts.get("stride", 0), self.tokens["truncation_side"]
            self.tokenizer.enable_truncation(max_length=self.max_length, stride=stride, direction=side)

    def __call__(self, texts: Sequence[str | Sequence[str]]) -> list[dict[str, Any]]:
        if not texts:
            return []
        parts = [(text,) if isinstance(text, str) else tuple(text) for text in texts]
        self._check({len(part) for part in parts})
        rows, begins = list[Row](), list[int]()  # a long text may have several rows
        encoded = self.tokenizer.encode_batch_fast([part if len(part) == 2 else part[0] for part in parts])
        for part, first in zip(parts, encoded, strict=True):
            begins.append(len(rows))
            windows = [first, *first.overflowing] if self.long_texts["how"] == "windows" else [first]
            rows += [self._row(part, own) for own in windows]
        # The mean of logits has the softmax of the mean log-probabilities.
        sums = np.add.reduceat(np.stack(self.logits(rows)).astype(np.float64), begins)
        pooled = (sums / np.diff([*begins, len(rows)])[:, None]).astype(np.float32)
        given = [dict(zip(("text", "text_pair"), part, strict=False)) for part in parts]
        return [{**text, **answer} for text, answer in zip(given, self._answers(pooled), strict=True)]

    def _check(self, sizes: set[int]) -> None:
        if not sizes <= {1, 2} or len(sizes) > 1:
            raise ValueError("some rows have one text and some have two; give all of them as many")
        if self.settings["reads_pairs"] and 1 in sizes:
            raise ValueError('this model reads pairs of texts; give each as ["text", "text_pair"], with --json')
        if self.settings["reads_pairs"] is False and 2 in sizes:
            raise ValueError("this model reads single texts, and the input has pairs; give one text a row")

    def _row(self, text: tuple[str, ...], encoded: Any) -> Row:
        ids = encoded.ids
        if not ids and not any(part.strip() for part in text):
            return {"input_ids": [self.tokens["unknown"]]}
        if self.long_texts["how"] == "head+tail" and self.max_length and len(ids) > self.max_length:
            return {"input_ids": ids[: self.long_texts["head"]] + ids[len(ids) - self.long_texts["tail"] :]}
        if len(text) == 2 and self.tokens["types"] and "token_type_ids" in self.inputs:
            return {"input_ids": ids, "token_type_ids": encoded.type_ids}
        return {"input_ids": ids}

    def _answers(self, logits: np.ndarray) -> Iterator[dict[str, Any]]:
        """What `logits` (texts, C) mean."""
        labels, kind = self.settings["labels"], self.settings["problem_type"]
        if kind == "regression":
            yield from ({"score": number} for number in logits[:, 0].tolist())
            return
        several = kind == "multi_label_classification"
        probabilities = np.exp(-np.logaddexp(0, -logits)) if several else softmax(logits)
        for row in probabilities.tolist():
            scores = dict(zip(labels, row, strict=True))
            if several:
                limits = zip(labels, self.settings["thresholds"], strict=True)
                own = [label for label, limit in limits if scores[label] >= limit]
                yield {"labels": sorted(own, key=lambda label: -scores[label]), "scores": scores}
            else:
                best = max(labels, key=scores.__getitem__)
                yield {"label": best, "score": scores[best], "scores": scores}


class Tagger(Model):
    """The entities of each text; of a list of words also its tags."""

    def __init__(self, *parts: Any):
        super().__init__(*parts)
        self.characters = self.settings["characters"]
        self.cutting = _beside("word_cutting")
        self.cutter = self.cutting.Cutter(self.settings["words"])
        if self.characters:
            self.character_ids = {character: id for id, character in enumerate(self.characters["known"], start=2)}
            self.tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # words are tokens as they are

    def __call__(self, texts: Sequence[str | Sequence[str]]) -> list[dict[str, Any]]:
        joined = [text if isinstance(text, str) else " ".join(text) for text in texts]
        cuts = [self.cutter.cut(text) if isinstance(text, str) else _places(text) for text in texts]
        rows, firsts = list[Row](), list[np.ndarray]()
        for text, cut in zip(joined, cuts, strict=True):
            for row, first in self._windows([text[start:end] for start, end in cut]):
                rows.append(row)
                firsts.append(first)
        tagged, answers = list[tuple[str, float]](), []
        for logits, first in zip(self.logits(rows), firsts, strict=True):
            probabilities = softmax(logits[first])  # (M, C)
            best = [self.settings["tags"][tag] for tag in probabilities.argmax(axis=-1).tolist()]
            tagged += zip(best, probabilities.max(axis=-1).tolist(), strict=True)
        pending = iter(tagged)
        for given, text, cut in zip(texts, joined, cuts, strict=True):
            own, found = [next(pending) for _ in cut], []
            tags, scores = [tag for tag, _ in own], [score for _, score in own]
            for kind, begin, stop in spans(tags):
                start, end = cut[begin][0], cut[stop - 1][1]
                score = sum(scores[begin:stop]) / (stop - begin)
                found.append({"type": kind, "start": start, "end": end, "text": text[start:end], "score": score})
                if not self.settings["has_begin"]:  # as in IOB1
                    tags[begin] = f"B-{kind}"
            words = {} if isinstance(given, str) else {"tokens": given, "tags": tags}
            answers.append({"text": text, **words, "entities": found})
        return answers

    def _windows(self, words: Sequence[str]) -> Iterator[tuple[Row, np.ndarray]]:
        """Rows of at most max_length tokens, each with the places (M,) of the first token of the words that it tags."""
        if not words:
            return
        before, behind = self.settings["before"], self.settings["behind"]
        size = self.max_length - len(before) - len(behind)
        tokens = self._tokens_of(words, size)
        places = np.cumsum([0, *map(len, tokens)])
        for start, stop, begin, end in self.cutting.windows(places, size, self.settings["overlap"]):
            own = [token for word in tokens[start:stop] for token in word]
            row: Row = {"input_ids": [*before, *(id for id, _ in own), *behind]}
            if self.characters:
                spelled = [*[""] * len(before), *(text for _, text in own), *[""] * len(behind)]
                row["char_ids"] = [self._spell(text) for text in spelled]
            yield row, places[begin:end] - places[start] + len(before)

    def _tokens_of(self, words: Sequence[str], size: int) -> list[list[tuple[int, str]]]:
        """Id and text of each token of each word, `size` at most; a word without tokens is unknown."""
        encoded = self.tokenizer.encode(words, is_pretokenized=True, add_special_tokens=False)
        tokens: list[list[tuple[int, str]]] = [[] for _ in words]
        for id, word, (start, end) in zip(encoded.ids, encoded.word_ids, encoded.offsets, strict=True):
            if word is not None:  # every token is of some word
                tokens[word].append((id, words[word][start:end]))
        return [own[:size] or [(self.tokens["unknown"], "")] for own in tokens]

    def _spell(self, token: str) -> list[int]:
        """The (W,) character ids of a token: of its beginning and its end, if it is longer."""
        width, token = self.characters["width"], unicodedata.normalize("NFC", token)
        token = token.lower() if self.characters["lowercase"] else token
        token = re.sub(r"\d", "0", token) if self.characters["zero_digits"] else token
        if len(token) > width:
            token = token[: width - width // 2] + token[len(token) - width // 2 :]
        ids = [self.character_ids.get(character, 1) for character in token]
        return ids + [0] * (width - len(ids))


class LanguageModel(Model):
    """The most likely next words of each text, and its continuation by up to `generate` tokens. Only texts with as many
    tokens are read together, so there is no padding."""

    def __call__(self, texts: Sequence[str], generate: int = 0) -> list[dict[str, Any]]:
        if self.max_length and generate >= self.max_length:
            raise ValueError(f"generate: the model reads {self.max_length} tokens at most; ask for fewer than that")
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("this model continues single texts; give one text a row")
        kept = self.max_length - (generate or 1) if self.max_length else 0  # the last tokens; 0: all
        encoded = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        rows = [[self.settings["end"], *own.ids][-kept:] for own in encoded]
        order, found = sorted(range(len(rows)), key=lambda row: len(rows[row])), dict[int, dict[str, Any]]()
        while order:
            chosen = [row for row in order[:ROWS] if len(rows[row]) == len(rows[order[0]])]
            order = order[len(chosen) :]
            answers = self._answers(np.array([rows[row] for row in chosen]), generate)
            found.update(zip(chosen, answers, strict=True))
        return [{"text": text, **found[row]} for row, text in enumerate(texts)]

    def _answers(self, ids: np.ndarray, generate: int) -> Iterator[dict[str, Any]]:
        """The answers to the tokens (B, T)."""
        state, end, time = dict[str, np.ndarray](), self.settings["end"], ids.shape[1]
        for start in range(0, time, WINDOW):
            logits, state = self._read(ids[:, start : start + WINDOW], start, state)
        probabilities = softmax(logits)
        for place in range(time, time + generate):
            ids = np.append(ids, logits.argmax(axis=-1)[:, None], axis=1)
            if (ids[:, time:] == end).any(axis=1).all() or place == time + generate - 1:
                break
            logits, state = self._read(ids[:, -1:], place, state)
        for own, new in zip(probabilities, ids[:, time:].tolist(), strict=True):
            likely = np.argsort(-own, kind="stable")[: self.settings["likeliest"]].tolist()
            words = {id: self.tokenizer.decode([id], skip_special_tokens=False) for id in likely}
            following = [{"word": words[id].strip() or words[id], "probability": own[id].item()} for id in likely]
            text = self.tokenizer.decode(new[: new.index(end)] if end in new else new, skip_special_tokens=False)
            yield {"next": following, **({"continuation": text.strip()} if generate else {})}

    def _read(self, ids: np.ndarray, past: int, state: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, Any]]:
        """Logits (B, V) after the last of the tokens (B, T), which follow `past` others, and the state there."""
        names = [name for name in self.inputs if name.startswith("past")]
        if not state:  # zeros, or a cache of no positions
            sizes = {name: [size if isinstance(size, int) else 0 for size in self.inputs[name][1:]] for name in names}
            state = {name: np.zeros((len(ids), *sizes[name]), dtype=np.float32) for name in names}
        seen = past if any("key_values" in name for name in names) else 0
        feeds = {**state, "input_ids": ids, "attention_mask": np.ones((len(ids), seen + ids.shape[1]), dtype=np.int64)}
        if "position_ids" in self.inputs:
            feeds["position_ids"] = np.tile(np.arange(past, past + ids.shape[1]), (len(ids), 1))
        outputs = ["present." + name.partition(".")[2] for name in names]
        logits, *new = self.session.run(["logits", *outputs], feeds)
        return logits[:, -1], dict(zip(names, new, strict=True))


TASKS: dict[str, type[Model]] = {"sentiment": TextModel, "ner": Tagger, "next_word": LanguageModel}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def spans(tags: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Type, first word and the word after the last of each entity in tags of IOB2."""
    start = 0
    for place, (before, tag) in enumerate(zip(["O", *tags], [*tags, "O"], strict=True)):
        goes_on = tag[0] == "I" and before[2:] == tag[2:]
        if before != "O" and not goes_on:
            yield before[2:], start, place
        start = start if goes_on else place


def _places(words: Sequence[str]) -> list[tuple[int, int]]:
    """Start and end of each word in `words`, joined by blanks."""
    ends = np.cumsum([len(word) + 1 for word in words], dtype=int).tolist()
    return [(end - 1 - len(word), end - 1) for end, word in zip(ends, words, strict=True)]


def chunks(stream: Any, is_json: bool) -> Iterator[list[Any]]:
    """Lines as they come: many of a file at once, and single ones of a terminal. With `is_json`, each is JSON."""
    number, rest = 0, b""
    while data := stream.read1(LINES):
        *lines, rest = (rest + data).split(b"\n")
        yield [_read(line, number, is_json) for number, line in enumerate(lines, start=number + 1)]
        number += len(lines)
    if rest:
        yield [_read(rest, number + 1, is_json)]


def _read(line: bytes, number: int, is_json: bool) -> Any:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        given = json.loads(text) if is_json else text
        if not all(isinstance(part, str) for part in (given if isinstance(given, list) else [given])):
            raise ValueError("expected a text or a list of texts")
        json.dumps(given, ensure_ascii=False).encode()  # fails for half a character
        return given
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from error


def main() -> None:
    """Answer each line of standard input."""
    parser = argparse.ArgumentParser(prog="runner.py", description=main.__doc__)
    parser.add_argument("--json", action="store_true", help="each line is JSON: a text, two texts, or a list of words")
    for name, of_option, help in OPTIONS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=of_option, metavar="N", help=help)
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads of the model, 1 by default; 0: one per core"
    )
    given = parser.parse_args()
    if given.generate is not None and given.generate < 1:
        raise ValueError("generate: it must be at least 1")
    model = load(threads=given.threads)
    options = {name: value for name, *_ in OPTIONS if (value := getattr(given, name)) is not None}
    for name in options.keys() - inspect.signature(model.__call__).parameters:
        raise ValueError(f"{name.replace('_', '-')}: this model has no such option; leave it out")
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
    for texts in chunks(sys.stdin.buffer, given.json):
        for answer in model(texts, **options) if texts else ():
            print(json.dumps(answer, ensure_ascii=False))
        sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # the reader of the answers has left; nothing can be flushed at exit, either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        sys.exit(130)
    except ValueError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
