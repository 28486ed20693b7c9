"""What is written about each claim: how it was measured, what was seen, and which statements hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.studies.claims import drawing, rules, timing
from pipeline.studies.claims.drawing import Line, Lines, Points
from pipeline.studies.claims.statements import Picture, Section, Statement

# Name of a file of figures, without .json -> what is in it.
Measured = Mapping[str, Any]
NAMES = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM", "bert": "BERT", "gpt2": "GPT-2"}
CELLS = ("rnn", "gru", "lstm")
SCORE_RULE = (
    "Scores are on rows held out for testing: 30 % of the reviews and tweets, and 10 % where words are predicted. Each"
    " pair has a test of its own, at 5 %: of twenty such tests, one finds a difference where there is none."
)


def vanishing(measured: Measured) -> Section:
    """Claim 1."""
    found = measured["gradients"]
    start, trained = found["start"], found["trained"]
    statements = [
        rules.vanishes_soon(start, "rnn, uniform", "at the start, with the usual uniform weights, it vanishes soon"),
        rules.shorter_reach(
            start,
            "rnn",
            ("gru", "lstm"),
            "at the start, with the weights of this package, it vanishes first in the RNN",
        ),
        rules.shorter_reach(trained, "rnn", ("gru", "lstm"), "after training, it vanishes first in the RNN"),
    ]
    panels = [_reach_panel(start, "At the start"), _reach_panel(trained, "After training")]
    return Section(
        number=1,
        title="The gradient of a plain RNN vanishes",
        claim="The gradient that a plain RNN passes back through time shrinks with every word, so that it cannot learn"
        " from words far back. Gates keep it alive (Hochreiter & Schmidhuber 1997; Pascanu et al. 2013).",
        method=[
            f"The norm of the gradient of the loss at the last word with respect to the state at each word before it,"
            f" as a share of that at the last word: the median over {found['texts']} texts of the memory task with"
            f" {found['noise']} words of noise, in evaluation mode. The state of an LSTM is h and c together; the curve"
            " \u201ch alone\u201d leaves c out. The models are those of claim 2 that were trained on all lengths"
            " together, with 64 units; \u201cat the start\u201d is the same model with fresh weights. Here the"
            " recurrent matrices start orthogonal and the LSTM's forget gate starts open, \u201cuniform\u201d is the"
            " usual start of torch.nn.RNN."
        ],
        statements=statements,
        picture=Picture(drawing.draw(panels), _in_words(statements)),
        table=_reach_table(start, trained),
        remarks=[
            "The curves are medians over the seeds, and the bands reach from the lowest to the highest. A small"
            " gradient after training need not mean that a model forgets: a state that holds a symbol safely hardly"
            " reacts to small changes any more (Bengio et al. 1994, section 4)."
        ],
    )


def _reach_panel(found: Mapping[str, Sequence[Sequence[float]]], title: str) -> Lines:
    floor = 1e-8  # on a logarithmic axis nothing is zero
    lines = {}
    for name in sorted(found, key=_rank):
        values = np.maximum(np.array(found[name], dtype=float), floor)
        middle = np.median(values, axis=0)
        lines[_named(name)] = Line(range(values.shape[1]), middle, values.min(axis=0), values.max(axis=0))
    return Lines(title, "distance in words", "gradient, share of the last", lines, log_y=True)


def _rank(name: str) -> tuple[int, str]:
    return (CELLS.index(name.partition(",")[0]), name)


def _named(name: str) -> str:
    first, comma, rest = name.partition(",")
    return f"{NAMES.get(first, first)}{comma}{rest}"


def _reach_table(start: Any, trained: Any) -> list[list[str]]:
    def cells(found: Any, name: str) -> list[str]:
        if name not in found:
            return ["", ""]
        last = np.median([seed[-1] for seed in found[name]])
        reach = [rules.gradients.reach(np.array(seed), rules.VANISHED) for seed in found[name]]
        return [f"{np.median(reach):g}", f"{last:.1e}"]

    headings = [
        "cell",
        "words until 1 %, start",
        "share left, start",
        "words until 1 %, trained",
        "share left, trained",
    ]
    names = sorted(start, key=_rank)
    return [headings, *([_named(name), *cells(start, name), *cells(trained, name)] for name in names)]


def memory(measured: Measured) -> Section:
    """Claim 2."""
    alone, mixed = measured["recall"]["alone"], measured["recall"]["mixed"]
    statements = [
        rules.recalls_further(alone, "lstm", "rnn", "trained on one length, the LSTM recalls over more words"),
        rules.recalls_further(alone, "gru", "rnn", "trained on one length, the GRU recalls over more words"),
        rules.recalls_further(mixed, "lstm", "rnn", "trained on all lengths, the LSTM recalls over more words"),
        rules.recalls_further(mixed, "gru", "rnn", "trained on all lengths, the GRU recalls over more words"),
    ]
    panels = [_recall_panel(alone, "A model for each length"), _recall_panel(mixed, "One model for all lengths")]
    headings = ["cell", "training", *(f"up to {length}" for length in alone["rnn"]["by_length"])]
    return Section(
        number=2,
        title="A plain RNN forgets the first word",
        claim="An LSTM or a GRU remembers over longer distances than a plain RNN.",
        method=[
            "A text is a symbol, noise and a question mark, and its label is the symbol, one of eight. The noise has"
            " between half of a length and all of it. Each cell has 64 units, no dropout, the same learning rate and"
            " the same number of updates for every cell and length. A length counts as recalled if the 95 %"
            " interval of the accuracy, over seeds and rows, lies above 90 %; chance is 12.5 %."
        ],
        statements=statements,
        picture=Picture(drawing.draw(panels), _in_words(statements)),
        table=[
            headings,
            *(
                [NAMES[cell], training, *(_interval(each, "{:.2f}") for each in found[cell]["by_length"].values())]
                for training, found in (("one length", alone), ("all lengths", mixed))
                for cell in CELLS
            ),
        ],
        remarks=[
            "A model that is trained on all lengths sees short texts as well, from which it may learn what to keep (a"
            " curriculum, Bengio et al. 2009). An accuracy that is the same at every length, such as 0.875, is that of"
            " a model that confuses symbols, here two of the eight, not of one that forgets."
        ],
    )


def _recall_panel(found: Mapping[str, Any], title: str) -> Lines:
    lines = {}
    for cell in CELLS:
        each = found[cell]["by_length"]
        columns = [[one[key] for one in each.values()] for key in ("value", "low", "high")]
        lines[NAMES[cell]] = Line([int(length) for length in each], *columns)
    return Lines(title, "most words of noise", "accuracy", lines, log_x=True, y_from=0.0)


def _interval(figure: Mapping[str, Any], form: str) -> str:
    value, low, high = (figure[name] for name in ("value", "low", "high"))
    if low is None or high is None:
        return form.format(value)
    return f"{form} ({form} to {form})".format(value, low, high)


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
            _score(comparison, cell),
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
        picture=Picture(drawing.draw([_points(comparison, "Test scores")]), _in_words(statements)),
        table=[["cell", "parameters", "\u03bcs a token, training", "\u03bcs a token, answering", "accuracy"], *rows],
        remarks=[
            "On a CPU, PyTorch runs the LSTM as one oneDNN operator, and the GRU word by word. On a GPU both are one"
            " cuDNN operator."
        ],
    )


def _score(comparison: Mapping[str, Any], name: str, form: str = "{:.4f}") -> str:
    contender = next(each for each in comparison["contenders"] if each["name"] == name)
    return _interval(contender["scores"][comparison["scores"][0]], form)


def _points(comparison: Mapping[str, Any], title: str) -> Points:
    score = comparison["scores"][0]
    points = {}
    for contender in comparison["contenders"]:
        own = contender["scores"][score]
        points[contender["name"]] = (own["value"], own["low"], own["high"])
    return Points(title, score.replace("_", " "), points)


def _in_words(statements: Sequence[Statement]) -> str:
    return "; ".join(f"{each.text}: {each.evidence}" for each in statements)


def _compared(number: int, title: str, claim: str, method: str, pairs: Sequence[tuple[Any, str, str, str]]) -> Section:
    """A claim that only scores decide.

    Args:
        pairs: the comparison, the contender that is said to be better, the other one, and the statement.
    """
    statements = [rules.is_better(*pair) for pair in pairs]
    rows: list[list[str]] = []
    for comparison, better, other, _ in pairs:
        for name in (other, better):
            row = [name, *_costs(comparison, name), f"{_score(comparison, name)} {_score_name(comparison)}"]
            rows += [row] if row not in rows else []
    panels = [_points(comparison, comparison["task"].replace("_", " ")) for comparison, *_ in pairs]
    remarks = [f"{sentence}." for comparison, *_ in pairs for sentence in comparison["sentences"]]
    headings = ["contender", "parameters", "seconds of training", "score on test"]
    picture = Picture(drawing.draw(panels), _in_words(statements))
    return Section(number, title, claim, [f"{method} {SCORE_RULE}"], statements, picture, [headings, *rows], remarks)


def _score_name(comparison: Mapping[str, Any]) -> str:
    return str(comparison["scores"][0]).replace("_", " ")


def _costs(comparison: Mapping[str, Any], name: str) -> list[str]:
    """Parameters, and the median seconds of training."""
    contender = next(each for each in comparison["contenders"] if each["name"] == name)
    runs = contender["train"]
    return [f"{runs[0]['parameters']:,}", f"{np.median([run['training_seconds'] for run in runs]):.0f}"]


def both_ways(measured: Measured) -> Section:
    """Claim 4."""
    return _compared(
        4,
        "Reading in both directions helps",
        "Where the whole text is known, a second layer that reads from right to left improves the score.",
        "The recipe sentiment_lstm, and the recipe ner_bilstm, with model.bidirectional and without; nothing else"
        " differs, so the bidirectional model has twice the recurrent parameters.",
        [
            (measured["compare-both-ways"], "lstm-both-ways", "lstm", "it helps to classify texts"),
            (measured["compare-ner"], "ner-both-ways", "ner-one-way", "it helps to find names"),
        ],
    )


def stacking(measured: Measured) -> Section:
    """Claim 5."""
    return _compared(
        5,
        "Two layers, and all outputs instead of the last",
        "A second layer, which needs all outputs of the first (return_sequences=True in Keras), improves the score, and"
        " so does attention over all outputs instead of the last state.",
        "The recipe sentiment_lstm with model.layers 1 and 2, and with model.pooling last and attention.",
        [
            (measured["compare-layers"], "lstm-two-layers", "lstm", "two layers are better than one"),
            (measured["compare-attention"], "lstm-attention", "lstm", "attention is better than the last state"),
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
        picture=Picture(drawing.draw(panels), _in_words(statements)),
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


def positions(measured: Measured) -> Section:
    """Claim 7."""
    return _compared(
        7,
        "Positions help a transformer",
        "Attention alone sees a set of words; position embeddings give it their order.",
        "The recipes sentiment_transformer and next_word_gpt2 with model.positions learned and none. BERT without"
        " positions cannot tell two orders apart; GPT-2 can, because each word reads only those to its left (Haviv et"
        " al. 2022).",
        [
            (measured["compare-positions"], "bert-positions", "bert-no-positions", "positions help to classify texts"),
            (measured["compare-gpt2"], "gpt2-positions", "gpt2-no-positions", "positions help to predict words"),
        ],
    )


def pretraining(measured: Measured) -> Section:
    """Claim 8."""
    small = next(each for each in measured["compare-positions"]["contenders"] if each["name"] == "bert-positions")
    section = _compared(
        8,
        "Pretraining",
        "A pretrained transformer is better than the same one trained from scratch on the task's own data.",
        "MiniLM as in the recipe sentiment_bert, against a BERT of the same sizes with random weights and MiniLM's"
        " tokenizer; both have one pass over the same rows. The one from scratch has the learning rate of the recipe"
        " sentiment_transformer, and position embeddings for 128 words instead of 512.",
        [
            (
                measured["compare-pretraining"],
                "minilm-pretrained",
                "minilm-scratch",
                "pretraining helps to classify texts",
            )
        ],
    )
    remark = (
        "One pass is little for six layers with random weights: the small BERT of claim 7, which is also trained from"
        f" scratch, reaches {small['scores']['accuracy']['value']:.4f} after five passes."
    )
    return replace(section, remarks=[*section.remarks, remark])


SECTIONS: dict[int, Callable[[Measured], Section]] = {
    1: vanishing,
    2: memory,
    3: frugal,
    4: both_ways,
    5: stacking,
    6: parallel,
    7: positions,
    8: pretraining,
}
