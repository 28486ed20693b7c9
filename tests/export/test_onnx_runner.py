"""runner.py answers as `finetune predict` does, where neither torch nor transformers can be imported."""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import RUNNER, SLOW, Folders, answers, bare_environment, difference, export, python

from pipeline import inference
from pipeline.config.data import Data
from pipeline.data.tagging import tags as schemes
from pipeline.data.tokenization import segmentation, tokenizers, word_alignment
from pipeline.export import runner_settings
from pipeline.export.word_cutting import Cutter, windows

# How far an answer may be from that of `finetune predict`.
CLOSE = 2e-6
TEXTS = ["a warm film", "", "dull " * 40, "  ", "\u200b", "סרט מרגש ומצחיק", "brilliant , tender and wise !", "\t"]


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    return bare_environment(tmp_path_factory.mktemp("bare") / "packages")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Folders:
    return Folders(tmp_path_factory.getbasetemp() / "exports")  # shared with other modules of tests


def test_nothing_but_the_three_packages_can_be_imported_in_the_bare_environment(bare):
    for name, is_there in {"numpy": True, "torch": False, "transformers": False, "onnx": False}.items():
        assert (python(bare, "-c", f"import {name}").returncode == 0) == is_there, name


def expected(run: Path, texts: list[Any], **options: Any) -> list[dict[str, Any]]:
    found = inference.answers(inference.load(str(run)), texts, **options)
    return [json.loads(json.dumps(answer, ensure_ascii=False)) for answer in found]


@pytest.mark.parametrize("name", ["labels", "several", "numbers", "windows", "both-ends", "end"])
def test_texts_get_the_answers_of_predict(folders, bare, name):
    run, exported = folders(name)
    assert difference(answers(bare, exported, TEXTS), expected(run, TEXTS)) < CLOSE


@pytest.mark.parametrize("name", ["pairs", pytest.param("bert-pairs", marks=SLOW)])
def test_pairs_of_texts_get_the_answers_of_predict(folders, bare, name):
    run, exported = folders(name)
    pairs = [["a warm film", "dull"], ["", "  "], ["dull " * 70, "boring"], ["", "a joy\n"]]
    assert difference(answers(bare, exported, pairs), expected(run, [tuple(pair) for pair in pairs])) < CLOSE


PROSE = [
    "Ada Bell went to Paris.",
    "",
    "Paris " * 30,
    "it's O'Neill's, e.g. in the U.S. at 10:30 – see https://ada.org/a_b?c=1 🙂👍🏽!!",
    'דבר אל מנכ"לית צה"ל ב"הארץ"',
    "\u200f\u200b",
    "東京タワー へ 行く",
]


@pytest.mark.parametrize("name", ["tags", "crf", pytest.param("bert-tags", marks=SLOW)])
def test_words_and_running_text_are_tagged_as_predict_does(folders, bare, name):
    run, exported = folders(name)
    texts = [*PROSE, ["Ada", "Bell", "in", "Paris"], [], ["Zoë\u0301", "\x00", "", "a b", "x" * 50], ["Paris"] * 30]
    found, wanted = answers(bare, exported, texts), expected(run, texts)
    assert difference(found, wanted) < CLOSE
    assert sum(len(answer["entities"]) for answer in wanted) > 5


def test_a_model_of_iob1_begins_its_entities_with_b(folders, bare, tmp_path):
    loaded = inference.load(str(folders("tags")[0]))
    loaded = replace(loaded, labels=["O", "I-LOC", "I-MISC", "I-PER", "I-ORG"])
    texts = [["Ada", "Bell", "in", "Paris", "Ada", "Paris"], "Ada Bell"]
    found, wanted = answers(bare, export(loaded, tmp_path / "x"), texts), [*inference.answers(loaded, texts)]
    assert difference(found, wanted) < CLOSE
    assert any(tag.startswith("B-") for tag in found[0]["tags"])


PROMPTS = ["a moving", "", "stale jokes", "a joy from start to end", "brilliant , tender " * 50, "a moving", "  "]


@pytest.mark.parametrize("name", ["next", "next-bpe", pytest.param("gpt2", marks=SLOW)])
def test_next_words_and_continuations_are_those_of_predict(folders, bare, name):
    run, exported = folders(name)
    assert difference(answers(bare, exported, PROMPTS), expected(run, PROMPTS)) < CLOSE
    continued = answers(bare, exported, PROMPTS, "--generate", "6")
    assert difference(continued, expected(run, PROMPTS, generate=6)) < CLOSE
    assert any(answer["continuation"] for answer in continued)


SOURCES = ["a moving", "", "stale jokes", "brilliant , tender " * 50, "סרט מרגש", "a moving", "  "]
SEARCHES = [(), ("--beams", "1"), ("--beams", "5", "--length-penalty", "0.3", "--n-best", "3"), ("--n-best", "2")]


@pytest.mark.parametrize(
    "name", ["translation", *(pytest.param(name, marks=SLOW) for name in ("translation-apart", "translation-t5"))]
)
def test_translations_are_those_of_predict_with_any_search(folders, bare, name):
    run, exported = folders(name)
    for options in SEARCHES:
        given = {
            flag[2:].replace("-", "_"): json.loads(value)
            for flag, value in zip(options[::2], options[1::2], strict=True)
        }
        found, wanted = answers(bare, exported, SOURCES, *options), expected(run, SOURCES, **given)
        assert difference(found, wanted) < CLOSE
        with_text = [text for text, answer in zip(SOURCES, found, strict=True) if answer["translation"]]
        assert all(text.strip() for text in with_text)
        assert with_text or name != "translation"  # the others have learnt nothing yet


def error_of(done: subprocess.CompletedProcess[bytes]) -> str:
    assert done.returncode == 1
    assert done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    return line


def test_mistakes_are_told_in_one_line(folders, bare, tmp_path):
    names = ("labels", "pairs", "next", "translation")
    texts, pairs, next_word, translation = (folders(name)[1] / "runner.py" for name in names)
    for runner, options, stdin, message in (
        (texts, ["--generate", "3"], b"", "error: generate: this model has no such option; leave it out"),
        (texts, ["--n-best", "3"], b"", "error: n-best: this model has no such option; leave it out"),
        (next_word, ["--generate", "0"], b"", "error: generate: it must be at least 1"),
        (
            texts,
            [],
            b"warm\n\xff\n",
            "error: line 2: 'utf-8' codec can't decode byte 0xff in position 0: invalid start",
        ),
        (translation, ["--beams", "0"], b"warm", "error: beams, n-best: both must be at least 1"),
        (translation, ["--beams", "2", "--n-best", "3"], b"warm", "error: n-best: 2 beams find no more than 2"),
        (translation, ["--beams", "1", "--length-penalty", "2"], b"warm", "error: length-penalty: it compares beams"),
        (
            translation,
            ["--json"],
            b'["warm", "dull"]\n',
            "error: this model translates single texts; give one text a row",
        ),
        (texts, ["--json"], b'"warm"\n{\n', "error: line 2: Expecting property name enclosed in double quotes"),
        (texts, ["--json"], b"7\n", "error: line 1: expected a text or a list of texts"),
        (texts, ["--json"], b'"\\ud800"\n', "error: line 1: 'utf-8' codec can't encode character"),
        (next_word, ["--json"], b'["warm", "dull"]\n', "error: this model continues single texts; give one text a row"),
        (texts, ["--json"], b'["warm", "dull"]\n', "error: this model reads single texts, and the input has pairs"),
        (
            pairs,
            [],
            b"warm\n",
            'error: this model reads pairs of texts; give each as ["text", "text_pair"], with --json',
        ),
        (pairs, ["--json"], b'["warm", "dull"]\n"warm"\n', "error: some rows have one text and some have two"),
    ):
        assert error_of(python(bare, runner, *options, stdin=stdin)).startswith(message)


@pytest.mark.parametrize("name", ["export.json", "tokenizer.json", "model.onnx"])
def test_a_missing_or_broken_file_is_named(folders, bare, tmp_path, name):
    folder = shutil.copytree(folders("labels")[1], tmp_path / "export")
    (folder / name).write_text("{}")
    for _ in ("broken", "missing"):
        message = error_of(python(bare, folder / "runner.py"))
        assert message.startswith(f"error: {folder / name} cannot be loaded: ")
        (folder / name).unlink(missing_ok=True)


def test_help_says_what_a_line_is(folders, bare):
    done = python(bare, folders("labels")[1] / "runner.py", "--help")
    assert done.returncode == 0
    assert b"each line is JSON" in done.stdout


def test_a_line_is_answered_before_the_next_one_comes_and_a_reader_may_leave(folders, bare):
    command = [sys.executable, "-S", str(folders("labels")[1] / "runner.py")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env={"PYTHONPATH": str(bare)}, **pipes) as process:
        for text in ("a warm film", "dull"):
            process.stdin.write(f"{text}\n".encode())
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["text"] == text
        process.stdout.close()
        process.stdin.write(b"a joy\n")
        process.stdin.close()
        assert process.wait(timeout=30) == 141
        assert process.stderr.read() == b""


def test_an_empty_list_has_no_answers_and_no_input_no_lines(folders, bare):
    for name in ("labels", "tags", "next"):
        assert answers(bare, folders(name)[1], []) == []


# The parts that runner.py has of its own.


def a_runner() -> Any:
    spec = importlib.util.spec_from_file_location("runner", RUNNER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SPELLINGS = {
    "with blanks": ["Ada", "Bell", "went", "to", "Paris"],
    "letters of all scripts": [*"我爱北京天安门。上海is"],
    "letters of one script": ["我", "爱", "北", "京", "in", "Paris", "2020"],
    "words of scripts without blanks": ["我们", "爱", "北京", "天安门", "ภาษา", "ไทย", "東京", "タワー", "へ", "abc漢"],
}
LETTERS = "我们爱北京天安门ภาษาไทย東京タワーへabcParis ีิ่  0123.-,'’!\u200b\"צהל👍🏽ー・、。ァｱﾞ漢\u0301"


@pytest.mark.parametrize("kind", ["word", "wordpiece", "bpe"])
@pytest.mark.parametrize("words", SPELLINGS.values(), ids=SPELLINGS)
def test_running_text_is_cut_into_the_words_that_predict_cuts(kind, words):
    data = Data("x", max_length=64, vocab_size=400, min_frequency=1)
    tokenizer = tokenizers.train(kind, words * 5, data, pretokenized=True)
    cutter = Cutter(runner_settings.cutting(tokenizer))
    cut, generator = segmentation.cutter(tokenizer), random.Random(0)
    for _ in range(300):
        text = "".join(generator.choices(LETTERS, k=generator.randrange(30)))
        assert cutter.cut(text) == cut(text)


def test_windows_are_those_of_training():
    generator = random.Random(0)
    for _ in range(300):
        size = generator.randrange(3, 20)
        lengths = generator.choices(range(1, min(size, 5) + 1), k=generator.randrange(1, 40))
        first = np.cumsum([0, *lengths])
        assert [*windows(first, size, word_alignment.OVERLAP)] == [*map(tuple, word_alignment.windows(first, size))]


def test_entities_are_those_of_training():
    spans, generator = a_runner().spans, random.Random(0)
    for _ in range(300):
        tags = generator.choices(["O", "B-A", "I-A", "B-B", "I-B"], k=generator.randrange(9))
        assert [*spans(tags)] == schemes.spans(tags)
