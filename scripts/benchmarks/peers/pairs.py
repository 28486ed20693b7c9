"""Our model and that of another library train on the same rows in turn, a pass each."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from benchmarks.common import ROTTEN_TOMATOES, TWEETS, RowsOfTable, alternate, choose
from benchmarks.peers.environments import ROOT, python_of
from benchmarks.peers.rows import write_rows
from pipeline import Data, Optim, Pretrained, Recipe, Recurrent, Train
from pipeline.metrics import statistics

PEERS = ("trainer", "flair", "keras", "ludwig")
SCRIPTS = ROOT / "scripts"
SIDE = "benchmarks.peers.in_{}"
# One thread for all of them: torch and TensorFlow, then JAX. The Hub is not asked for anything.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}
# All sides cut rows at blanks, and know the words that occur at least twice, or for tags all of them.
TEXTS = replace(ROTTEN_TOMATOES, tokenizer="whitespace", min_frequency=2)
TAGGED = replace(TWEETS, tokenizer="whitespace", min_frequency=1)
LAST = Recurrent(cell="lstm", bidirectional=True, embedding_size=128, dropout=0.5, embedding_dropout=0.5)
MAXIMUM = replace(LAST, pooling="max")


@dataclass(frozen=True)
class Pair:
    """A model that ours and a peer build.

    Attributes:
        model: its name in the table.
        recipe: ours; the peer takes its settings from it.
        rows: training rows, drawn at random; None: all.
        environment: variables that the peer is started with.
    """

    peer: str
    model: str
    recipe: Recipe
    rows: int | None = None
    environment: dict[str, str] = field(default_factory=dict)


def _recipe(
    model: Any, data: Data = TEXTS, task: str = "sentiment", *, batch_size: int = 32, learning_rate: float = 2e-3
) -> Recipe:
    """Not all libraries have our schedules, so the learning rate is constant. Nothing is scored before the end: no
    time contains scoring, and the last weights count. bf16 is used where it is not emulated, which takes hours."""
    precision = "auto" if isinstance(model, Pretrained) else "fp32"
    optim = Optim(learning_rate=learning_rate, schedule="constant", warmup_ratio=0.0)
    train = Train(batch_size=batch_size, precision=precision, eval_every=10**6)
    return Recipe("peers", task, data, model, optim, train)


MINILM = _recipe(Pretrained("sample:minilm"), ROTTEN_TOMATOES, learning_rate=5e-5)
TAGGER = _recipe(replace(LAST, crf=True), TAGGED, "ner", batch_size=16, learning_rate=3e-3)
PAIRS = (
    Pair("trainer", "MiniLM", MINILM, rows=1280),
    Pair("trainer", "our BiLSTM, maximum", _recipe(MAXIMUM)),
    Pair("flair", "BiLSTM, last states (flair: first and last)", _recipe(LAST)),
    Pair("flair", "BiLSTM-CRF, entities in tweets", TAGGER),
    Pair("keras", "BiLSTM, last states", _recipe(LAST), environment={"KERAS_BACKEND": "tensorflow"}),
    Pair("keras", "BiLSTM, last states", _recipe(LAST), environment={"KERAS_BACKEND": "jax"}),
    Pair("ludwig", "BiLSTM, last states (Ludwig: after padding)", _recipe(LAST)),
    Pair("ludwig", "BiLSTM, maximum (Ludwig: padding included)", _recipe(MAXIMUM)),
)


def peers(pairs: int, only: Sequence[str] = (), seeds: Sequence[int] = (), all_rows: bool = False) -> RowsOfTable:
    """Rows per CPU second in passes over the training split, without tokenization, and the score on the test split of
    all passes: a first one, which is not timed because graphs are compiled in it, and one for each pair.

    Args:
        only: parts of names in `PEERS`; none: all.
        seeds: at least two values of train.seed: scores over these, in place of the speed; none: the speed and one
            score.
        all_rows: train on all training rows, also where a pair has fewer.
    """
    libraries = choose(PEERS, only)
    measured = [pair for pair in PAIRS if pair.peer in libraries]
    if all_rows:
        measured = [replace(pair, rows=None) for pair in measured]
    return [_scores(pair, pairs, seeds) if seeds else _speed(pair, pairs) for pair in measured]


def _speed(pair: Pair, pairs: int) -> dict[str, Any]:
    found = _train(pair, pairs)
    speeds = dict(zip(("ours rows/s", "theirs rows/s", "ratio"), found.speeds, strict=True))
    scores = {"our score": f"{found.score:.3f}", "their score": f"{found.peer_score:.3f}"}
    return {"model": _title(pair), "peer": found.versions, **speeds, **scores}


def _scores(pair: Pair, pairs: int, seeds: Sequence[int]) -> dict[str, Any]:
    """Both sides draw new weights, dropout and order with each seed; the rows stay the same."""
    found = [_train(_with_seed(pair, seed), pairs) for seed in seeds]
    ours, theirs = [each.score for each in found], [each.peer_score for each in found]
    shown = {"our score": _mean_and_spread(ours), "their score": _mean_and_spread(theirs)}
    return {"model": _title(pair), "peer": found[0].versions, **shown, **_difference(ours, theirs)}


def _title(pair: Pair) -> str:
    """The model, and its precision if that depends on the processor."""
    import torch

    from pipeline.training.hardware import has_fast_bf16

    if pair.recipe.train.precision != "auto":
        return pair.model
    return f"{pair.model} in {'bf16' if has_fast_bf16(torch.device('cpu')) else 'fp32'}"


def _with_seed(pair: Pair, seed: int) -> Pair:
    return replace(pair, recipe=replace(pair.recipe, train=replace(pair.recipe.train, seed=seed)))


def _mean_and_spread(scores: Sequence[float]) -> str:
    return f"{statistics.mean(scores):.4f} (spread {statistics.spread(scores):.4f})"


def _difference(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, str]:
    """The difference of the means, its 95 % interval, and the p-value of Student's t-test over the seeds."""
    from scipy.stats import ttest_ind

    test = ttest_ind(ours, theirs)
    low, high = test.confidence_interval()
    difference = statistics.mean(ours) - statistics.mean(theirs)
    p = "< 0.01" if test.pvalue < 0.01 else f"{test.pvalue:.2f}"
    return {"difference": f"{difference:+.4f} ({low:+.4f} to {high:+.4f})", "p": p}


@dataclass(frozen=True)
class _Trained:
    """What one training of both sides has shown.

    Attributes:
        versions: of the peer's packages.
        speeds: rows per CPU second of ours and the peer, and the median of their ratios.
        score, peer_score: on the test split.
    """

    versions: str
    speeds: tuple[float, float, float]
    score: float
    peer_score: float


def _train(pair: Pair, pairs: int) -> _Trained:
    python = python_of(pair.peer)  # before the others wait for an installation
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        file, rows = _prepare(pair, pairs + 1, folder)
        ours = stack.enter_context(_Side.of([sys.executable, "-m", SIDE.format("pipeline")], file, {}))
        theirs = stack.enter_context(_Side.of([python, "-m", SIDE.format(pair.peer)], file, pair.environment))
        _, versions = ours.report(), theirs.report()
        speeds = alternate(lambda: rows / ours.next_pass(), lambda: rows / theirs.next_pass(), pairs)
        return _Trained(versions, speeds, ours.report(), theirs.report())


def _prepare(pair: Pair, passes: int, folder: Path) -> tuple[Path, int]:
    """The file of the recipe on rows in `folder`, and the number of its training rows."""
    count = write_rows(pair.recipe, pair.rows, folder)
    recipe = replace(
        pair.recipe,
        data=replace(pair.recipe.data, source=str(folder)),
        train=replace(pair.recipe.train, epochs=passes, output_dir=str(folder / "run")),
    )
    file = folder / "recipe.json"
    file.write_text(recipe.to_json(), encoding="utf-8")
    return file, count


@dataclass
class _Side:
    """A process that trains a model, one pass for each line of its standard input."""

    process: subprocess.Popen[str]
    reports: TextIO
    log: Path

    @classmethod
    @contextlib.contextmanager
    def of(cls, command: list[str], recipe: Path, environment: dict[str, str]) -> Iterator[_Side]:
        paths = os.pathsep.join((str(SCRIPTS), str(ROOT)))
        environment = {**os.environ, **ENVIRONMENT, **environment, "PYTHONPATH": paths}
        log, (read, write) = recipe.with_name(f"{Path(command[-1]).name}.log"), os.pipe()
        with os.fdopen(read, encoding="utf-8") as reports, log.open("w") as output:
            process = subprocess.Popen(
                [*command, str(recipe), str(write)],
                cwd=recipe.parent,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                text=True,
                pass_fds=(write,),
            )
            os.close(write)
            try:
                yield cls(process, reports, log)
            finally:
                process.kill()
                process.communicate()

    def next_pass(self) -> float:
        """CPU seconds of the next pass."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and `report` says why
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        return float(self.report())

    def report(self) -> Any:
        """What the process reports next."""
        line = self.reports.readline()
        if not line:
            with contextlib.suppress(subprocess.TimeoutExpired):  # its pipe is closed before its error is printed
                self.process.wait(timeout=60)
            raise SystemExit(f"{self.log.stem} has ended:\n{self.log.read_text(errors='replace')[-2000:]}")
        return json.loads(line)
