"""Claims 3 and 6: what a model costs in parameters and in time."""

from __future__ import annotations

import numpy as np

from pipeline.studies.claims import drawing, rules, timing
from pipeline.studies.claims.drawing import Line, Lines
from pipeline.studies.claims.sections.figures import CELLS, NAMES, Measured, in_words, points, score_of
from pipeline.studies.claims.statements import Picture, Section


def frugal(measured: Measured) -> Section:
    """Claim 3."""
    sizes = {cell: each["parameters"] for cell, each in measured["sizes"]["cells"].items()}
    seconds, comparison = measured["timing-1"]["seconds"], measured["compare-cells"]
    words = rules.SENTENCE
    statements = [
        rules.exact_proportions(sizes, {"rnn": 1, "gru": 3, "lstm": 4}, "parameters are 1 : 3 : 4"),
        rules.takes_less(seconds, "gru", "lstm", "training", words, "the GRU is trained in less time than the LSTM"),
        rules.takes_less(seconds, "gru", "lstm", "answering", words, "the GRU answers in less time than the LSTM"),
        rules.is_nearly_as_good(comparison, "gru", "lstm", "the GRU does nearly as well as the LSTM"),
    ]
    rows = [
        [
            NAMES[cell],
            f"{sizes[cell]:,}",
            *(f"{1e6 * np.median(seconds[cell][action][str(words)]):.1f}" for action in ("training", "answering")),
            score_of(comparison, cell),
        ]
        for cell in CELLS
    ]
    return Section(
        number=3,
        title="A GRU is an LSTM at three quarters of the price",
        claim="A GRU has fewer parameters than an LSTM and needs less time, and does nearly as well.",
        method=[
            f"Parameters are those of a layer with 128 inputs and 128 units, with the two biases that torch's cells"
            f" have. Times are per token, two layers of 128 units, batches of {timing.TEXTS} texts of {words} words,"
            " one thread, the cells in turn; the interval of the median assumes nothing but independent rounds. Scores"
            " are those of the recipes sentiment_rnn, sentiment_gru and sentiment_lstm on 30 % of Rotten Tomatoes."
        ],
        statements=statements,
        picture=Picture(drawing.draw([points(comparison, "Test scores")]), in_words(statements)),
        table=[["cell", "parameters", "\u03bcs a token, training", "\u03bcs a token, answering", "accuracy"], *rows],
        remarks=[
            "On a CPU, PyTorch runs the LSTM as one oneDNN operator; GRU and RNN run in loops of this package"
            " (`cpu_kernels.py`). On a GPU all three are one cuDNN operator."
        ],
    )


def parallel(measured: Measured) -> Section:
    """Claim 6."""
    machine = measured["timing-2"]
    one, two = measured["timing-1"]["seconds"], machine["seconds"]
    statements = [
        rules.gains_most_by_threads(
            one, two, "bert", "training", "a second thread helps the transformer most, training"
        ),
        rules.gains_most_by_threads(
            one, two, "bert", "answering", "a second thread helps the transformer most, answering"
        ),
        rules.fastest_of(two, "bert", "single", rules.LONG, "the transformer reads one text faster, with two threads"),
        rules.only_grows(one, "bert", "training", "the price: only its time per token grows with the length"),
    ]
    panels = [_times_panel(one, action, title) for action, title in ACTIONS.items()]
    return Section(
        number=6,
        title="Transformers work in parallel",
        claim="A recurrent network must read word by word, a transformer reads all words at once, so it makes better"
        " use of parallel hardware; its price is that attention grows with the square of the length.",
        method=[
            f"Time per token of classifiers with two layers of width {timing.WIDTH} and fresh weights, forward and"
            f" backward in training, forward alone in answering, batches of {timing.TEXTS} texts or a single text, all"
            " models in turn. One thread and two are measured in processes of their own. The picture shows one thread."
            f" The machine has {machine['cores']} cores and PyTorch {machine['torch']}. Two threads can only be judged"
            " if both have a core to themselves: while they were measured, the load was"
            f" {machine['load']:.1f} at the start, and they waited for a core {machine['waited']:.0%} of the time (one"
            f" thread {measured['timing-1']['waited']:.0%})."
        ],
        statements=statements,
        picture=Picture(drawing.draw(panels), in_words(statements)),
        table=[
            ["model", "action", *(f"{length} words" for length in one["rnn"]["training"])],
            *(
                [NAMES[name], action, *(_with_gain(one, two, name, action, length) for length in one[name][action])]
                for action in ACTIONS
                for name in timing.MODELS
            ),
        ],
        remarks=[
            "In the table: microseconds a token on one thread, and how many times as fast two threads are. To measure"
            " the times again on a machine that does nothing else, delete `runs/course/figures/timing-1.json` and"
            " `timing-2.json`, and run the command."
        ],
    )


ACTIONS = {"training": "Training", "answering": "Answering, batch", "single": "Answering, one text"}


def _times_panel(seconds: timing.Seconds, action: str, title: str) -> Lines:
    lines = {}
    for name in timing.MODELS:
        found = {int(length): 1e6 * np.array(rounds) for length, rounds in seconds[name][action].items()}
        columns = zip(*(timing.median_interval(rounds) for rounds in found.values()), strict=True)
        lines[NAMES[name]] = Line(list(found), *map(list, columns))
    return Lines(title, "words in a text", "\u03bcs a token", lines, log_x=True, log_y=True)


def _with_gain(one: timing.Seconds, two: timing.Seconds, name: str, action: str, length: str) -> str:
    gain = rules.thread_gain(one, two, name, action, int(length))
    return f"{1e6 * np.median(one[name][action][length]):.1f} (\u00d7{gain:.1f})"
