"""What must hold before an export is put in its place: it answers as the model does, or nearly so in int8."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from datasets import Dataset
from torch import nn

from pipeline import inference
from pipeline.data.encoding import encode
from pipeline.errors import UserError
from pipeline.export import probes, runner
from pipeline.export.comparison import TOLERANCE, Comparison, first_difference
from pipeline.export.exact import Exact
from pipeline.export.validation_rows import SPLIT, TARGET, ValidationRows
from pipeline.inference import Loaded
from pipeline.metrics.scores import PERCENTAGES, flatten, is_lower_better
from pipeline.models.checkpoints import CAUSAL, SEQ2SEQ
from pipeline.training.evaluation import Evaluation, evaluate

BATCH_SIZE = 32
# Texts that the runner answers, and the first of them with which batches are tried.
ANSWERED, TRIED = 32, 6
# Of those, how many it translates, with the settings of the model and with others.
TRANSLATED = 8
SEARCHES: tuple[dict[str, Any], ...] = ({}, {"beams": 1}, {"beams": 3, "n_best": 2, "length_penalty": 0.5})
# Of a token, more than most have, so that a text of this many has more tokens than the longest that is tried.
CHARACTERS = 8
# How much of its score a model may lose in int8: half a point of a share, half a percent of a score beyond 1.
LOSS = 0.005
# Main score -> others that are shown with it.
SHOWN = {"chrf": ("bleu",)}


@dataclass(frozen=True)
class Checked:
    """What the checks have found.

    Attributes:
        name: of the main score of the task.
        rows: of the validation split, on which it was computed.
        before, after: the score of the model, and that of the export.
        difference: largest difference of a logit, see `comparison.TOLERANCE`.
        labels: how many rows get another label, or other tags; None: the answers of the task are not labels.
        texts: how many rows get another translation; None: the task writes none.
        others: further scores, before and after.
    """

    name: str
    rows: int
    before: float
    after: float
    difference: float
    labels: int | None
    texts: int | None = None
    others: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """What the export loses of the score; negative if it gains."""
        return (self.after - self.before) * (1 if is_lower_better(self.name) else -1)

    @property
    def scores(self) -> str:
        both = {self.name: (self.before, self.after), **self.others}.items()
        scores = ", ".join(f"{name} {before:.4f} before and {after:.4f} after" for name, (before, after) in both)
        return f"{scores}, on {self.rows:,} rows of {SPLIT}"

    def problem(self, exact: bool) -> str | None:
        """Why the export must not be used, in one line.

        Args:
            exact: whether it computes in float32, and must return the same.
        """
        if not math.isfinite(self.difference):
            return "its logits are not finite, or of another shape"
        if exact and not self.difference <= TOLERANCE:
            return f"its logits differ by up to {self.difference:.2g}"
        if exact and self.labels:
            return f"{self.labels} of {self.rows:,} rows get another label"
        if exact and not math.isfinite(self.before):  # as a correlation with one answer to all rows; logits are as near
            return None
        if not math.isfinite(self.loss):
            return "its score or that of the model is not finite"
        is_share = abs(self.before) <= 1 or self.name in PERCENTAGES
        most = 100.0 if self.name in PERCENTAGES else max(1.0, abs(self.before))
        if not self.loss <= LOSS * most:  # worded so that no NaN passes
            return f"it loses more than half a {'point' if is_share else 'percent'}"
        return None


def check(folder: Path, loaded: Loaded, rows: ValidationRows, exact: bool) -> Checked:
    """Compare what the export in `folder` returns with what the model returns that it was made of.

    Args:
        loaded: that model, on the CPU.
        exact: whether the export computes in float32, and is held to what the model returns in float64.

    Raises:
        UserError: ONNX Runtime cannot run it on every batch.
    """
    comparison, reference = Comparison(), Exact(loaded.model, wanted=exact)
    with tempfile.TemporaryDirectory() as name:
        probed = _encoded(_probe_columns(rows, loaded), loaded, Path(name) / "probed")
        probes.compare(folder, loaded, probed, reference, comparison)
        encoded = _encoded(rows.columns, loaded, Path(name) / "rows")
        exported = inference.load(str(folder))
        before, logits = _evaluate(loaded, loaded, encoded, rows.running, reference)
        after, found = _evaluate(exported, loaded, encoded, rows.running)
        for (expected, mask), (own, _) in zip(logits, found, strict=True):
            comparison.add(expected, own, mask)
        labels, texts = _differing(before, after, "prediction"), _differing(before, after, "hypothesis")
    monitor = loaded.task.monitor
    one, other = (flatten(evaluation.scores) for evaluation in (before, after))
    others = {name: (one[name], other[name]) for name in SHOWN.get(monitor, ())}
    return Checked(monitor, len(rows), one[monitor], other[monitor], comparison.largest, labels, texts, others)


def _encoded(columns: dict[str, list[Any]], loaded: Loaded, file: Path) -> Dataset:
    """Rows by role as the task encodes them for its model."""
    tokenizer = loaded.tokenizer
    encode(Dataset.from_dict(columns), loaded.task, tokenizer, tokenizer.model_max_length, loaded.labels, file)
    return Dataset.from_file(f"{file}.arrow")


def _probe_columns(rows: ValidationRows, loaded: Loaded) -> dict[str, list[Any]]:
    """A few of the rows, one without words unless the model tags them, and one as long as the model can read."""
    columns = {name: values[:TRIED] for name, values in rows.columns.items()}
    size = probes.longest(loaded.tokenizer)
    if "tokens" in columns:
        long = [word for words in rows.columns["tokens"] for word in words] * size
        more: dict[str, list[Any]] = {"tokens": [long[:size]], "tags": [["O"] * size]}
    else:
        texts = [name for name in ("text", "text_pair") if name in columns]
        more = {name: [values[0]] * 2 for name, values in columns.items()}
        more |= {name: ["", " ".join(columns[name] * size)[: CHARACTERS * size]] for name in texts}
    return {name: [*values, *more[name]] for name, values in columns.items()}


class _Recorder(nn.Module):
    """A model whose logits are kept, or those of `reference`, with the mask of what is not padding."""

    def __init__(self, model: Any, reference: Exact | None):
        super().__init__()
        self.answer, self.reference = model.__call__, reference
        self.logits: list[tuple[Any, Any]] = []

    def forward(self, **batch: torch.Tensor) -> Any:
        outputs = self.answer(**batch)
        mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
        logits = outputs.logits.float().numpy()
        if self.reference and self.reference.is_exact:
            logits = self.reference.logits({name: values for name, values in batch.items() if name != "labels"})
        self.logits.append((logits, mask.numpy()))
        return outputs


def _evaluate(
    loaded: Loaded, original: Loaded, encoded: Dataset, running: bool, reference: Exact | None = None
) -> tuple[Evaluation, list[tuple[Any, Any]]]:
    """The outcome of the rows and, unless their tokens have the logits of a vocabulary, the logits of each batch."""
    task, tokenizer = original.task, original.tokenizer
    is_of_words = original.task.head in (CAUSAL, SEQ2SEQ)
    model: Any = loaded.model if is_of_words else _Recorder(loaded.model, reference)
    split = task.arrange(encoded, loaded.model, tokenizer, BATCH_SIZE, running, training=False)
    found = evaluate(model, task, split, tokenizer, original.labels, BATCH_SIZE, Accelerator(cpu=True))
    return found, getattr(model, "logits", [])


def _differing(before: Evaluation, after: Evaluation, name: str) -> int | None:
    """How many rows get another answer called `name`; None: it is a number, or there is none."""
    pairs = list(zip(before.rows(), after.rows(), strict=True))
    if isinstance(pairs[0][0].get(name), (float, type(None))):
        return None
    return sum(one[name] != other[name] for one, other in pairs)


def check_runner(folder: Path, loaded: Loaded, rows: ValidationRows, exact: bool) -> None:
    """Let runner.py answer some rows and one without words, as the task answers them by the same graph.

    Each is answered alone: in int8 the scales of a batch depend on its rows, which both need not arrange alike. Of what
    beams or batches find, less than half of the translations may differ: rounding decides between beams that are as
    good, and a model that has learned little has many of these.

    Args:
        loaded: the model that was exported.
        exact: whether the answer to a row does not depend on its batch, so that rows are answered at once, too.

    Raises:
        UserError: it answers otherwise.
    """
    answer, graph = runner.load(folder), inference.load(str(folder)).model
    blank = "" if not isinstance(rows.contents[0], tuple) else ("", "")
    translates = TARGET in rows.columns
    contents = [*rows.contents[: TRANSLATED if translates else ANSWERED], blank]
    most = (len(contents) - 2) // 2 if translates else 0
    for options in SEARCHES if translates else ({},):
        # With the labels and the thresholds of the run: those of the export are what is tried.
        given: dict[str, Any] = {"model": graph, "tokenizer": loaded.tokenizer, "labels": loaded.labels, **options}
        expected = [one for content in contents for one in loaded.task.predict([content], **given)]
        one_by_one = [one for content in contents for one in answer([content], **options)]
        _refuse_differing(expected, one_by_one, 0 if options.get("beams") == 1 else most)
        if exact:
            _refuse_differing(expected, answer(contents, **options), most)


def _refuse_differing(expected: Sequence[Any], found: Sequence[Any], most: int) -> None:
    """Refuse a runner if more than `most` of the answers that it has found differ from those expected."""
    pairs = enumerate(zip(_plain(expected), _plain(found), strict=True))
    differing = [problem for number, pair in pairs if (problem := first_difference(*pair, f"[{number}]"))]
    if len(differing) > most:
        raise UserError(f"model: it cannot be exported: runner.py answers otherwise than the model: {differing[0]}")


def _plain(answers: Sequence[Any]) -> Any:
    """As JSON has them: tuples as lists."""
    if isinstance(answers, dict):
        return {name: _plain(value) for name, value in answers.items()}
    return [_plain(value) for value in answers] if isinstance(answers, (list, tuple)) else answers
