"""Entity scores and the reading of tags agree with seqeval, which most papers cite.

seqeval is published as source only, so it is no requirement of the package: it is built here, in a folder that is
deleted afterwards, with tools of pinned versions.
"""

from __future__ import annotations

import random
import subprocess
import sys
import venv

import pytest
from test_entities import compute, conlleval_sample

from pipeline.data.tagging.tags import spans

TOOLS = ("setuptools==80.9.0", "setuptools-scm==8.3.1", "packaging==26.3")
SEQEVAL = "seqeval==1.2.2"

pytestmark = pytest.mark.slow  # asks the package index for seqeval, and builds it


@pytest.fixture(scope="module")
def seqeval(tmp_path_factory):
    """The module `seqeval.metrics`."""
    folder = tmp_path_factory.mktemp("seqeval")
    venv.create(folder / "build", with_pip=True)
    install = [str(folder / "build/bin/python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    tools = subprocess.run([*install, *TOOLS, "tomli"], capture_output=True, text=True, check=False)
    if tools.returncode:
        pytest.skip(f"the package index does not answer: {tools.stderr[-300:]}")
    build = ["--no-build-isolation", "--use-pep517", "--target", str(folder / "site"), SEQEVAL]
    subprocess.run([*install, *build], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder / "site"))
        import seqeval.metrics
        import seqeval.metrics.sequence_labeling
        import seqeval.scheme

        yield seqeval
        for name in [name for name in sys.modules if name.split(".")[0] == "seqeval"]:
            del sys.modules[name]


def random_tags(generator: random.Random, prefixes: str, length: int) -> list[str]:
    """Tags of types X and Y in any order, valid or not."""
    drawn = [generator.choice(prefixes) for _ in range(length)]
    return ["O" if prefix == "O" else f"{prefix}-{generator.choice('XY')}" for prefix in drawn]


def random_pairs(seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Predicted and true tags of 50 sentences; two predicted tags in three are right."""
    generator = random.Random(seed)
    truth = [random_tags(generator, "OBI", generator.randint(1, 12)) for _ in range(50)]
    guess = [random_tags(generator, "OBI", len(tags)) for tags in truth]
    mixed = [
        [true if generator.random() < 2 / 3 else other for true, other in zip(*pair, strict=True)]
        for pair in zip(truth, guess, strict=True)
    ]
    return mixed, truth


@pytest.mark.parametrize("sample", ["conlleval", *range(20)])
def test_every_score_is_that_of_seqeval(sample, seqeval):
    guess, truth = conlleval_sample() if sample == "conlleval" else random_pairs(sample)
    scores, metrics = compute(guess, truth), seqeval.metrics
    report = metrics.classification_report(truth, guess, output_dict=True, zero_division=0)
    for name, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
        assert scores[name] == pytest.approx(report["micro avg"][theirs])
        for kind, figures in scores["per_type"].items():
            assert figures[name] == pytest.approx(report[kind][theirs])
    assert {kind: figures["support"] for kind, figures in scores["per_type"].items()} == {
        kind: figures["support"] for kind, figures in report.items() if not kind.endswith(" avg")
    }
    strict = metrics.f1_score(truth, guess, mode="strict", scheme=seqeval.scheme.IOB2, zero_division=0)
    assert scores["strict_f1"] == pytest.approx(strict)
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(truth, guess))


@pytest.mark.parametrize("prefixes", ["BIO", "BIESO"])
def test_any_sequence_is_read_as_seqeval_reads_it(prefixes, seqeval):
    generator = random.Random(2)
    for _ in range(1000):
        tags = random_tags(generator, prefixes, generator.randint(1, 8))
        theirs = seqeval.metrics.sequence_labeling.get_entities(tags)
        assert spans(tags) == [(kind, start, last + 1) for kind, start, last in theirs]
