"""Folders as finished runs leave them, with rows in predictions/*.parquet, made without training.

All folders of a task have the same texts; the answers depend on `skill` and `seed`. The files are those of a run:
recipe.json, metrics.json (computed from the rows), history.jsonl and predictions/validation.parquet and test.parquet.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.data import Data
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.predictions import PredictionInfo

WORDS = [
    *("a", "the", "film", "plot", "story", "warm", "dull", "funny", "empty", "tender", "long", "short", "actor"),
    *("music", "שלום", "映画", "café", "👍🏽", "London", "Anna"),
]
SPAN = pa.struct([("type", pa.string()), ("start", pa.int32()), ("end", pa.int32())])


@dataclass(frozen=True)
class Options:
    """What a folder is made of.

    Attributes:
        rows: of each split.
        skill: how good the answers are, in [0, 1].
        seed: train.seed; other answers of the same skill.
        hidden_size: a setting that makes it another contender than runs with another size.
        data: settings of the data that recipe.json records.
        labels: of the classes, or the types of entities.
        shift: number of rows by which the texts are shifted, so that others are in the split.
        tokens_per_word: of next_word.
        recipe: its name; by default that of the task.
        attends: whether the attention of a few translations is kept.
    """

    rows: int = 200
    skill: float = 0.8
    seed: int = 0
    hidden_size: int = 8
    data: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ("bad", "good")
    shift: int = 0
    tokens_per_word: float = 1.5
    recipe: str | None = None
    attends: bool = True


Columns = dict[str, Any]
Made = tuple[Columns, dict[str, Any], PredictionInfo]  # the columns of a split, its scores, and its info


def texts(rows: int, shift: int = 0) -> list[str]:
    """Texts of 3 to 22 words; every hundredth one repeats the one before."""
    lengths = np.random.default_rng(1).integers(2, 22, rows + shift)
    words = np.random.default_rng(2).integers(0, len(WORDS), (rows + shift, 22))
    made = [
        " ".join([*(WORDS[w] for w in row[:n]), str(i)]) for i, (n, row) in enumerate(zip(lengths, words, strict=True))
    ]
    for number in range(100, len(made), 100):
        made[number] = made[number - 1]
    return made[shift:]


def classes(split: str, options: Options) -> Made:
    """A label for each text."""
    rng, gold, own = _random(split, options)
    names, count = np.array(options.labels), len(options.labels)
    right = rng.random(options.rows) < options.skill
    answer = np.where(right, gold, (gold + rng.integers(1, count, options.rows)) % count)
    strength = rng.uniform(0.5, 3.0, options.rows)
    logits = rng.normal(0.0, 0.3, (options.rows, count))
    logits[np.arange(options.rows), answer] += strength + 1.0
    answer = logits.argmax(axis=1)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    nll = -np.log(scores[np.arange(options.rows), gold])
    confusion = np.bincount(gold * count + answer, minlength=count**2).reshape(count, count)
    per_class = {name: _class(confusion, index) for index, name in enumerate(options.labels)}
    occurring = [name for name in options.labels if per_class[name]["f1"] >= 0.0]
    metrics = {
        "loss": float(nll.mean()),
        "accuracy": float((answer == gold).mean()),
        "macro_f1": float(np.mean([per_class[name]["f1"] for name in occurring])),
        "per_class": per_class,
        "confusion": confusion.tolist(),
    }
    columns = {"text": own, "gold": names[gold].tolist(), "prediction": names[answer].tolist()}
    columns |= {"scores": _lists(scores), "nll": nll}
    info = PredictionInfo("sentiment", "single_label_classification", split, list(options.labels), {})
    return columns, metrics, info


def several_labels(split: str, options: Options) -> Made:
    """Any number of labels for each text."""
    rng, _, own = _random(split, options)
    shape, names = (options.rows, len(options.labels)), np.array(options.labels, dtype=object)
    gold = np.random.default_rng(7).random((options.rows + options.shift, shape[1]))[options.shift :] < 0.4
    sign = np.where((rng.random(shape) < options.skill) == gold, 1.0, -1.0)
    scores = (1 / (1 + np.exp(-sign * rng.uniform(0.2, 3.0, shape)))).astype(np.float32)
    chosen = scores >= 0.5
    nll = -np.where(gold, np.log(scores), np.log1p(-scores)).mean(axis=1)
    hits, support, found = (gold & chosen).sum(axis=0), gold.sum(axis=0), chosen.sum(axis=0)
    f1 = 2 * hits / np.maximum(support + found, 1)
    metrics = {
        "loss": float(nll.mean()),
        "micro_f1": float(2 * hits.sum() / max(support.sum() + found.sum(), 1)),
        "macro_f1": float(f1.mean()),
        "accuracy": float((chosen == gold).all(axis=1).mean()),
        "per_class": {
            name: {"precision": float(h / max(p, 1)), "recall": float(h / max(s, 1)), "f1": float(f), "support": int(s)}
            for name, h, s, p, f in zip(options.labels, hits, support, found, f1, strict=True)
        },
        "thresholds": dict.fromkeys(options.labels, 0.5),
    }
    columns = {"text": own, "gold": [names[row].tolist() for row in gold]}
    columns |= {"prediction": [names[row].tolist() for row in chosen], "scores": _lists(scores), "nll": nll}
    settings = {"thresholds": [0.5] * len(options.labels)}
    info = PredictionInfo("sentiment", "multi_label_classification", split, list(options.labels), settings)
    return columns, metrics, info


def numbers(split: str, options: Options) -> Made:
    """A number for each pair of texts."""
    rng, _, own = _random(split, options)
    gold = np.random.default_rng(7).uniform(0.0, 5.0, options.rows + options.shift).round(1)[options.shift :]
    answer = gold + rng.normal(0.0, 3.0 * (1.01 - options.skill), options.rows)
    error = np.square(gold - answer)
    ranks = [np.argsort(np.argsort(values)) for values in (gold, answer)]
    metrics = {"loss": float(error.mean()), "mse": float(error.mean())}
    metrics |= {"pearson": float(np.corrcoef(gold, answer)[0, 1]), "spearman": float(np.corrcoef(*ranks)[0, 1])}
    columns = {
        "text": own,
        "text_pair": [text[::-1] for text in own],
        "gold": gold,
        "prediction": answer,
        "squared_error": error,
    }
    return columns, metrics, PredictionInfo("sentiment", "regression", split, ["score"], {})


def entities(split: str, options: Options) -> Made:
    """A tag for each word; about a fifth of the words begin an entity of one or two words."""
    rng, _, own = _random(split, options)
    kinds = options.labels
    words = [text.split() for text in own]
    gold = [_some_tags(np.random.default_rng(len(text)), len(text.split()), kinds) for text in own]
    answers = [tags if rng.random() < options.skill else _some_tags(rng, len(tags), kinds) for tags in gold]
    spans = [[list(_spans(tags)) for tags in side] for side in (gold, answers)]
    hits = sum(len(set(map(_key, a)) & set(map(_key, b))) for a, b in zip(*spans, strict=True))
    support, found = (sum(map(len, side)) for side in spans)
    nll = np.array([(0.2 + rng.random()) * len(tags) for tags in gold])
    right = [a == b for pair in zip(gold, answers, strict=True) for a, b in zip(*pair, strict=True)]
    f1 = 2 * hits / max(found + support, 1)
    metrics = {
        "loss": float(nll.sum() / sum(map(len, words))),
        "precision": hits / max(found, 1),
        "recall": hits / max(support, 1),
        "f1": f1,
        "strict_f1": f1,
        "accuracy": float(np.mean(right)),
        "per_type": {kind: _type(kind, *spans) for kind in sorted(kinds)},
        "lost_entities": 0,
    }
    columns = {"words": words, "gold": gold, "prediction": answers}
    columns |= {"gold_spans": pa.array(spans[0], pa.list_(SPAN)), "predicted_spans": pa.array(spans[1], pa.list_(SPAN))}
    columns |= {"lost_entities": pa.array([0] * options.rows, pa.int32()), "nll": nll}
    columns["tokens"] = pa.array([len(sentence) for sentence in words], pa.int32())
    tags = ["O", *(f"{prefix}-{kind}" for kind in sorted(kinds) for prefix in "BI")]
    return columns, metrics, PredictionInfo("ner", None, split, tags, {})


def next_words(split: str, options: Options) -> Made:
    """The tokens of each text."""
    rng, _, own = _random(split, options)
    words = np.array([len(text.split()) + 1 for text in own])
    tokens = np.maximum((words * options.tokens_per_word).astype(int), 1)
    offsets = np.concatenate([[0], tokens.cumsum()])
    each = (rng.gamma(2.0, 1.0, offsets[-1]) * (1.5 - options.skill) / options.tokens_per_word).astype(np.float32)
    nll = np.add.reduceat(each.astype(np.float64), offsets[:-1])
    size = np.array([len(text.encode()) + 1 for text in own])
    first, five = (np.add.reduceat((each < limit).astype(int), offsets[:-1]) for limit in (0.3, 1.0))
    total, count = float(nll.sum()), int(tokens.sum())
    settings = {"context": "all of the text before", "stride": 1}
    metrics = {
        "loss": total / count,
        "perplexity_per_token": math.exp(total / count),
        "perplexity_per_word": math.exp(total / int(words.sum())),
        "bits_per_byte": total / math.log(2) / int(size.sum()),
        "accuracy": int(first.sum()) / count,
        "accuracy_top5": int(five.sum()) / count,
        "tokens": count,
        "words": int(words.sum()),
        "bytes": int(size.sum()),
        **settings,
    }
    columns = {"text": own, "words": pa.array(words, pa.int32()), "bytes": pa.array(size, pa.int32()), "nll": nll}
    columns |= {"tokens": pa.array(tokens, pa.int32()), "first": pa.array(first, pa.int32())}
    columns["in_five"] = pa.array(five, pa.int32())
    columns["token_nll"] = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(each))
    return columns, metrics, PredictionInfo("next_word", None, split, [], settings)


def translations(split: str, options: Options) -> Made:
    """A translation of each text: its words in the opposite order, some of them left out or wrong."""
    from sacrebleu.metrics import BLEU, CHRF  # takes a while, and the other kinds do not need it

    rng, _, own = _random(split, options)
    targets = [" ".join(reversed(text.split())) for text in own]
    answers = [_translated(target, options.skill, rng) for target in targets]
    tokens = np.array([len(target.split()) + 1 for target in targets])
    nll = (1.5 - options.skill) * tokens * rng.uniform(0.5, 1.5, options.rows)
    loss = float(nll.sum() / tokens.sum())
    metrics: dict[str, Any] = {"loss": loss, "perplexity_per_token": math.exp(loss)}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        metrics[name] = metric.corpus_score(answers, [targets]).score
        metrics[f"{name}_signature"] = str(metric.get_signature())
    columns = {"text": own, "target": targets, "hypothesis": answers, "nll": nll}
    columns["tokens"] = pa.array(tokens, pa.int32())
    if options.attends:
        luck = np.random.default_rng(options.seed)
        few = [attention(pieces(a), pieces(b), luck) for a, b in zip(own[:9], answers[:9], strict=True)]
        columns["attention"] = [None, *few[1:], *[None] * (options.rows - len(few))]
    return columns, metrics, PredictionInfo("translation", None, split, [], {})


def pieces(text: str) -> list[str]:
    """Tokens as a model with a vocabulary of pieces of words has them, and its end token."""
    halves = [(word[: len(word) // 2 + 1], word[len(word) // 2 + 1 :]) for word in text.split()]
    return [*(piece for first, second in halves for piece in (f" {first}", second) if piece), "</s>"]


def attention(source: list[str], target: list[str], luck: np.random.Generator) -> dict[str, Any]:
    """Weights of each of `target` over `source`, of which a few are large."""
    weights = luck.dirichlet(np.full(len(source), 0.15), len(target)).astype(np.float32)
    return {"source": source, "target": target, "weights": weights.tolist()}


def _translated(target: str, skill: float, rng: np.random.Generator) -> str:
    if rng.random() < skill / 4:
        return target
    kept = ((word, rng.random()) for word in target.split())
    return " ".join(word if luck < skill else "a" for word, luck in kept if luck < skill or luck > 0.9)


KINDS: dict[str, tuple[Callable[[str, Options], Made], str, str]] = {
    "classes": (classes, "sentiment", "accuracy"),
    "several_labels": (several_labels, "sentiment", "micro_f1"),
    "numbers": (numbers, "sentiment", "mse"),
    "entities": (entities, "ner", "f1"),
    "next_words": (next_words, "next_word", "loss"),
    "translations": (translations, "translation", "chrf"),
}


def write_run(folder: Path, kind: str = "classes", **options: Any) -> Path:
    """Write the folder of a finished run of this `kind`, see `KINDS`, with these `Options`; returns the folder."""
    chosen = Options(**options)
    if kind == "entities" and "labels" not in options:
        chosen = replace(chosen, labels=("LOC", "PER"))
    make, task, monitor = KINDS[kind]
    folder.mkdir(parents=True)
    (folder / "predictions").mkdir()
    recipe = Recipe(
        chosen.recipe or task,
        task,
        Data("reviews.csv", **chosen.data),
        Recurrent(hidden_size=chosen.hidden_size),
        Optim(),
        Train(seed=chosen.seed, output_dir=str(folder)),
    )
    (folder / "recipe.json").write_text(recipe.to_json())
    metrics: dict[str, Any] = {}
    for split in ("validation", "test"):
        columns, metrics[split], info = make(split, chosen)
        _write_rows(folder / f"predictions/{split}.parquet", columns, info, chosen)
    answers = chosen.labels if kind != "numbers" else ()
    metrics["train"] = _costs(chosen, monitor)
    metrics["data"] = {"rows": {"train": 1000, "validation": chosen.rows, "test": chosen.rows}, "labels": list(answers)}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "history.jsonl").write_text("".join(json.dumps(record) + "\n" for record in _history(metrics)))
    return folder


def _random(split: str, options: Options) -> tuple[np.random.Generator, np.ndarray, list[str]]:
    """A generator for the answers, the gold class of each text (N,), and the texts (N)."""
    shift = options.shift + (3 if split == "validation" else 0)
    own = texts(options.rows, shift)
    gold = np.random.default_rng(7).integers(0, len(options.labels), options.rows + shift)
    for number in range(100, len(gold), 100):
        gold[number] = gold[number - 1]
    seeds = [options.seed, round(1000 * options.skill), options.hidden_size, int(split == "test")]
    return np.random.default_rng(seeds), gold[shift:], own


def _write_rows(file: Path, columns: Columns, info: PredictionInfo, options: Options) -> None:
    tokens = [len(text.split()) for text in columns.get("text", [])]
    places = [f"reviews.csv:{number + 2 + options.shift}" for number in range(options.rows)]
    values = {"id": pa.array(range(options.rows), pa.int64()), "place": places, **columns}
    values.setdefault("tokens", pa.array(tokens, pa.int32()))
    table = pa.table(values).replace_schema_metadata({b"finetune": json.dumps(asdict(info)).encode()})
    pq.write_table(table, file, compression="zstd", row_group_size=4096)


def _lists(scores: np.ndarray) -> pa.ListArray:
    rows, width = scores.shape
    offsets = pa.array(np.arange(rows + 1) * width, pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(scores.astype(np.float32).ravel()))


def _class(confusion: np.ndarray, index: int) -> dict[str, Any]:
    hits, support, found = confusion[index, index], confusion[index].sum(), confusion[:, index].sum()
    return {
        "precision": float(hits / max(found, 1)),
        "recall": float(hits / max(support, 1)),
        "f1": float(2 * hits / max(support + found, 1)),
        "support": int(support),
    }


def _some_tags(rng: np.random.Generator, words: int, kinds: Sequence[str]) -> list[str]:
    """Valid IOB2 tags of this many words."""
    tags: list[str] = []
    for begins, kind, is_long in zip(
        rng.random(words), rng.integers(0, len(kinds), words), rng.random(words), strict=True
    ):
        if len(tags) >= words:
            break
        if begins < 0.2:
            tags += [f"B-{kinds[kind]}", *([f"I-{kinds[kind]}"] if is_long < 0.4 else [])]
        else:
            tags.append("O")
    return tags[:words]


def _spans(tags: Sequence[str]) -> Iterator[dict[str, Any]]:
    starts = [index for index, tag in enumerate(tags) if tag[0] == "B"]
    for start in starts:
        inside = itertools.takewhile(lambda tag: tag[0] == "I", tags[start + 1 :])
        yield {"type": tags[start][2:], "start": start, "end": start + 1 + len(list(inside))}


def _key(span: dict[str, Any]) -> tuple[Any, ...]:
    return span["type"], span["start"], span["end"]


def _type(kind: str, gold: list[list[dict[str, Any]]], found: list[list[dict[str, Any]]]) -> dict[str, Any]:
    own = [[{_key(span) for span in spans if span["type"] == kind} for spans in side] for side in (gold, found)]
    hits = sum(len(a & b) for a, b in zip(*own, strict=True))
    support, predicted = (sum(map(len, side)) for side in own)
    return {
        "precision": hits / max(predicted, 1),
        "recall": hits / max(support, 1),
        "f1": 2 * hits / max(support + predicted, 1),
        "support": support,
    }


def _costs(options: Options, monitor: str) -> dict[str, Any]:
    return {
        "seconds": 10.0 * options.hidden_size + options.seed,
        "tokens_per_second": 40000.0 / options.hidden_size,
        "peak_memory_bytes": (300 + options.hidden_size) * 2**20,
        "parameters": 1000 * options.hidden_size**2,
        "updates": 120,
        "best_update": 80,
        "monitor": monitor,
        "epochs": 3.0,
        "batch_size": 16,
        "processes": 1,
        "device": "cpu",
        "answering": {"batch_1": 9000.0 / options.hidden_size, "batch_32": 90000.0 / options.hidden_size},
    }


def _history(metrics: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Records of training, every 10 updates, and of validation, every 40."""
    scores = {name: value for name, value in metrics["validation"].items() if isinstance(value, float)}
    for step in range(10, 121, 10):
        yield {
            "kind": "train",
            "step": step,
            "epoch": (step - 1) // 40,
            "loss": scores["loss"] * (1 + 10 / step),
            "learning_rate": 0.01 * (1 - step / 130),
            "grad_norm": 1.0,
            "tokens_per_second": metrics["train"]["tokens_per_second"],
            "memory_bytes": metrics["train"]["peak_memory_bytes"],
            "padding": 0.1,
            "waiting": 0.0,
        }
        if step % 40 == 0:
            yield {
                "kind": "validation",
                "step": step,
                "epoch": step // 40,
                **scores,
                "loss": scores["loss"] * 120 / step,
            }
