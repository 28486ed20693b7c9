"""Entity scores and the reading of tags agree with seqeval, which most papers cite, and with conlleval.

seqeval is published as source only, so it is no requirement of the package: it is built here, in a folder that is
deleted afterwards, with tools of pinned versions. Its source also holds conlleval and the sample of that script.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest
from test_entities import compute

from pipeline.data.tagging.tags import spans

TOOLS = ("setuptools==80.9.0", "setuptools-scm==8.3.1", "packaging==26.3", "tomli==2.5.0")
SEQEVAL = "seqeval==1.2.2"

pytestmark = pytest.mark.slow  # asks the package index for seqeval, and builds it


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """The source of seqeval; next to it, `site` holds what is built from it."""
    folder = tmp_path_factory.mktemp("seqeval")
    venv.create(folder / "build", with_pip=True)
    pip = [str(folder / "build/bin/python"), "-m", "pip", "--quiet"]
    tools = subprocess.run([*pip, "install", "--no-deps", *TOOLS], capture_output=True, text=True, check=False)
    if tools.returncode:
        pytest.skip(f"the package index does not answer: {tools.stderr[-300:]}")
    build = ["--no-deps", "--no-build-isolation", "--use-pep517"]
    subprocess.run([*pip, "download", *build, "--no-binary", ":all:", "--dest", str(folder), SEQEVAL], check=True)
    archive = next(folder.glob("seqeval-*.tar.gz"))
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    subprocess.run([*pip, "install", *build, "--target", str(folder / "site"), str(archive)], check=True)
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def seqeval(source):
    """The package, with the modules that are used here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(source.parent / "site"))
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


def sample(source: Path) -> tuple[list[list[str]], list[list[str]]]:
    """Predicted and true tags of conlleval's sample, whose lines end with the true and the predicted tag of a word."""
    text = (source / "tests/data/ground_truth.txt").read_text()
    words = [[line.split()[-2:] for line in block.splitlines()] for block in text.strip().split("\n\n")]
    truth, guess = ([[pair[place] for pair in sentence] for sentence in words] for place in (0, 1))
    return guess, truth


def conlleval(source: Path, guess: list[list[str]], truth: list[list[str]]) -> dict[str, tuple[float, ...]]:
    """Precision, recall and F1 that the script prints, in percent, for each type and, under "", for all."""
    pairs = [zip(*rows, strict=True) for rows in zip(truth, guess, strict=True)]
    text = "\n\n".join("\n".join(f"word {true} {guessed}" for true, guessed in sentence) for sentence in pairs)
    command = ["perl", str(source / "tests/conlleval.pl")]
    printed = subprocess.run(command, input=f"{text}\n\n", capture_output=True, text=True, check=True).stdout
    figures = r"precision: +([\d.]+)%; recall: +([\d.]+)%; FB1: +([\d.]+)"
    found = re.findall(rf"^ *(\w*)(?:accuracy: +[\d.]+%;|:) {figures}", printed, re.M)
    return {kind: tuple(map(float, numbers)) for kind, *numbers in found}


def percent(figures: dict[str, float]) -> tuple[float, ...]:
    return tuple(100 * figures[name] for name in ("precision", "recall", "f1"))


def test_the_scores_of_conllevals_sample_are_those_that_were_published_with_it(source):
    """http://www.clips.uantwerpen.be/conll2000/chunking/output.html: 961 tokens with 459 phrases."""
    guess, truth = sample(source)
    scores = compute(guess, truth)
    assert sum(map(len, truth)) == 961
    assert sum(figures["support"] for figures in scores["per_type"].values()) == 459
    assert percent(scores) == pytest.approx((68.83, 80.83, 74.35), abs=0.005)
    assert 100 * scores["accuracy"] == pytest.approx(84.08, abs=0.005)
    assert percent(scores["per_type"]["NP"]) == pytest.approx((64.98, 78.63, 71.16), abs=0.005)
    assert percent(scores["per_type"]["ADJP"]) == (0.0, 0.0, 0.0)


@pytest.mark.skipif(shutil.which("perl") is None, reason="conlleval is a Perl script")
@pytest.mark.parametrize("seed", range(20))
def test_every_score_is_that_of_conlleval(seed, source):
    guess, truth = random_pairs(seed)
    scores, printed = compute(guess, truth), conlleval(source, guess, truth)
    assert printed.keys() == {"", *scores["per_type"]}
    for kind, numbers in printed.items():
        assert percent(scores["per_type"][kind] if kind else scores) == pytest.approx(numbers, abs=0.0051)


@pytest.mark.parametrize("seed", range(20))
def test_every_score_is_that_of_seqeval(seed, seqeval):
    guess, truth = random_pairs(seed)
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
