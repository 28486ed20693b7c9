"""Claims 1 and 2: what a recurrent network learns over a distance, and remembers over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.studies.claims import drawing, rules
from pipeline.studies.claims.drawing import Line, Lines
from pipeline.studies.claims.sections.figures import CELLS, NAMES, Measured, in_words, interval
from pipeline.studies.claims.statements import Picture, Section


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
        picture=Picture(drawing.draw(panels), in_words(statements)),
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
        picture=Picture(drawing.draw(panels), in_words(statements)),
        table=[
            headings,
            *(
                [NAMES[cell], training, *(interval(each, "{:.2f}") for each in found[cell]["by_length"].values())]
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
