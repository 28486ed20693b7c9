"""A teacher answers each text once, whatever happens in between and on however many processes."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from accelerate import Accelerator

from pipeline.config.distil import Distil
from pipeline.data.prepare import cache_root
from pipeline.distil import answers, rows
from pipeline.distil.answers import Questions, ask
from pipeline.distil.teacher import Teacher
from pipeline.errors import UserError
from pipeline.tasks.sentiment import Sentiment
from pipeline.tasks.teacher_hooks import Student

LABELS = ["negative", "positive"]


@pytest.fixture(autouse=True)
def a_cache_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(answers, "BATCH", 4)
    monkeypatch.setattr(answers, "CHUNK", 8)


@pytest.fixture
def questions(shop):
    lines = (shop / "other.txt").read_text().splitlines()[:30]
    teacher = Teacher(Distil(str(shop / "teacher")), shop / "teacher/model", "teacher", "cpu")

    def made(contents: list[str] = lines, labels: list[str] = LABELS) -> Questions:
        return Questions("texts", contents, teacher, Sentiment(False), Student(labels, None, None))

    return made


def values(found: pa.ChunkedArray) -> np.ndarray:
    return np.array(found.to_pylist(), np.float32)


def test_the_answers_are_the_logits_in_the_order_of_the_texts_and_of_the_students_labels(questions):
    given = questions()
    found = values(ask(given, Accelerator(cpu=True)))
    loaded = given.teacher.loaded
    for text, row in zip(given.contents, found, strict=True):
        encoded = loaded.tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            expected = loaded.model(**encoded).logits[0].numpy()
        np.testing.assert_allclose(row, expected, atol=0.03 if given.teacher.precision == "bf16" else 1e-5)
    turned = values(ask(questions(labels=LABELS[::-1]), Accelerator(cpu=True)))
    assert np.array_equal(turned, found[:, ::-1])


def test_a_text_is_asked_once_for_all_students(questions, asked):
    first = ask(questions(), Accelerator(cpu=True))
    assert sorted(asked) == sorted(questions().contents)
    asked.clear()
    assert ask(questions(), Accelerator(cpu=True)).equals(first)
    assert asked == []
    ask(questions([*questions().contents[:5], "another"]), Accelerator(cpu=True))
    assert len(asked) == 6


def test_the_weights_are_part_of_the_key_and_the_card_is_not(questions, shop, tmp_path):
    def key() -> str:
        teacher = Teacher(Distil("x"), copy, "teacher", "cpu")
        return Questions("texts", ["one"], teacher, Sentiment(False), Student(LABELS, None, None)).key

    copy = tmp_path / "model"
    copy.mkdir()
    for file in (shop / "teacher/model").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    before = key()
    (copy / "README.md").write_text("edited")
    assert key() == before
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert key() != before


def test_the_base_model_of_an_adapter_is_part_of_the_key(tmp_path):
    def fingerprint() -> str:
        return Teacher(Distil("x"), tmp_path / "adapter", "teacher", "cpu").fingerprint

    for name in ("adapter", "base"):
        (tmp_path / name).mkdir()
    config = {"base_model_name_or_path": str(tmp_path / "base")}
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "base/config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "base/model.safetensors").write_bytes(b"one")
    before = fingerprint()
    (tmp_path / "base/README.md").write_text("edited")
    assert fingerprint() == before
    (tmp_path / "base/model.safetensors").write_bytes(b"two")
    assert fingerprint() != before
    (tmp_path / "adapter/adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"^distil.teacher: teacher holds an adapter that cannot be read"):
        fingerprint()


@pytest.mark.parametrize("module", ["inference.py", "data/tokenization/any.py", "models/any.py", "tasks/any.py"])
def test_the_code_that_answers_depend_on_is_part_of_the_key(questions, module, tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "PACKAGE", tmp_path)
    for file in (tmp_path / "inference.py", tmp_path / module):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("one = 1")
    before = questions().key
    assert questions().key == before
    (tmp_path / module).write_text("one = 2")
    assert questions().key != before


def _ask_and_die(given: Questions, after: int) -> None:
    """Answer until this many batches are done; then the process kills itself."""
    done, original = [], Questions.answer

    def answer(self: Questions, own: list[str]) -> list[np.ndarray]:
        if len(done) == after:
            os.kill(os.getpid(), signal.SIGKILL)
        done.append(1)
        return original(self, own)

    Questions.answer = answer  # type: ignore[method-assign]
    ask(given, Accelerator(cpu=True))


@pytest.mark.parametrize("batches", [0, 3, 5])
def test_a_killed_process_leaves_whole_chunks_and_the_next_one_ends_with_the_same_bytes(
    questions, asked, batches, tmp_path, monkeypatch
):
    given = questions()
    _ = given.teacher.loaded, given.key
    process = multiprocessing.get_context("fork").Process(target=_ask_and_die, args=(given, batches))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    whole = 8 * (batches // 2)  # a chunk has two batches
    resumed = ask(given, Accelerator(cpu=True))
    assert len(asked) == len(given.contents) - whole
    written = (given.folder / answers.FILE).read_bytes()
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "another"))
    assert ask(given, Accelerator(cpu=True)).equals(resumed)
    assert (given.folder / answers.FILE).read_bytes() == written
    assert [path.name for path in (cache_root() / answers.FOLDER).iterdir() if path.is_dir()] == [given.key]


def test_answers_are_written_a_few_at_a_time_in_the_order_of_the_texts(questions):
    given = questions()
    found = ask(given, Accelerator(cpu=True))
    assert [len(batch) for batch in found.chunks] == [8, 8, 8, 6]
    expected: dict[int, list[float]] = {}
    for start in range(0, 8, 4):
        file_rows = np.concatenate([rows for _, rows in given.chunks])[start : start + 4]
        answered = given.answer([given.contents[row] for row in file_rows])
        expected |= {int(row): answer.tolist() for row, answer in zip(file_rows, answered, strict=True)}
    in_order = found.to_pylist()
    assert {row: in_order[row] for row in expected} == expected


def test_more_numbers_than_32_bits_can_count_are_written_into_rows(tmp_path):
    """8 GiB of zeros in a file without blocks, of which only the last three numbers are read."""
    many = 2**31 + 8
    zeros = np.memmap(tmp_path / "zeros", np.float32, "w+", shape=(many + 3,))
    zeros[many:] = 1, 2, 3
    numbers = pa.Array.from_buffers(pa.float32(), len(zeros), [None, pa.py_buffer(zeros)])
    lists = pa.LargeListArray.from_arrays(pa.array([0, many, many + 1, many + 3], pa.int64()), numbers)
    assert rows._lists(pa.chunked_array([lists[1:]])).to_pylist() == [[1], [2, 3]]


def test_two_processes_give_the_bytes_of_one(questions, asked, tmp_path, monkeypatch):
    """Their shares, one after the other, as if the second process had waited."""
    given = questions()
    ask(given, Accelerator(cpu=True))
    alone = (given.folder / answers.FILE).read_bytes()
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "another"))
    given = questions()
    asked.clear()
    for process in (1, 0):
        answers._answer_share(given, SimpleNamespace(num_processes=2, process_index=process, is_main_process=False))
    assert sorted(asked) == sorted(given.contents)
    answers._join(given)
    assert (given.folder / answers.FILE).read_bytes() == alone
    assert len(asked) == len(given.contents)


def test_a_node_with_a_cache_of_its_own_answers_what_the_others_have_answered(questions, asked):
    given = questions()
    answers._answer_share(given, SimpleNamespace(num_processes=2, process_index=1, is_main_process=False))
    assert 0 < len(asked) < len(given.contents)
    answers._join(given)
    assert sorted(asked) == sorted(given.contents)


def test_of_two_processes_on_such_a_node_one_answers_and_joins(questions, asked, monkeypatch):
    """As the second and third of three processes, in threads: locks tell these apart as well."""
    joins, original = [], answers._join

    def slow_join(own: Questions) -> None:
        joins.append(own)
        time.sleep(0.3)  # the other one has looked for the answers by then
        original(own)

    def ask_as(process: int) -> pa.ChunkedArray:
        others = {"wait_for_everyone": lambda: None, "main_process_first": contextlib.nullcontext}
        state = {"num_processes": 3, "process_index": process, "is_main_process": False, "device": "cpu"}
        return ask(given, SimpleNamespace(**others, **state, reduce=lambda flag, how: flag))

    monkeypatch.setattr(answers, "_join", slow_join)
    given = questions()
    _ = given.teacher.loaded, given.key, given.chunks
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(ask_as, (1, 2))
    assert len(joins) == 1
    assert one.equals(other)
    assert sorted(asked) == sorted(given.contents)


def test_a_teacher_of_other_labels_is_refused(questions):
    with pytest.raises(
        UserError, match=r"^distil.teacher: teacher: its labels are negative, positive, and those of the data bad"
    ):
        ask(questions(labels=["bad", "good"]), Accelerator(cpu=True))


def test_a_teacher_without_a_head_is_refused_by_its_name_once(questions, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    given = replace(questions(), teacher=Teacher(Distil("bare"), tmp_path, "bare", "cpu"))
    with pytest.raises(UserError, match=r"^distil.teacher: bare is a BertModel; expected ForSequenceClassification"):
        ask(given, Accelerator(cpu=True))


@pytest.mark.parametrize("size", [0, 100, -1])
def test_damaged_answers_are_asked_for_again(questions, asked, size):
    given = questions()
    expected, file = ask(given, Accelerator(cpu=True)).to_pylist(), given.folder / answers.FILE
    damaged = bytearray(file.read_bytes())
    if size < 0:
        damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged if size < 0 else damaged[:size])
    asked.clear()
    assert ask(given, Accelerator(cpu=True)).to_pylist() == expected
    assert len(asked) == len(given.contents)


def test_a_damaged_chunk_is_asked_for_again(questions, asked):
    given = questions()
    answers._answer_share(given, SimpleNamespace(num_processes=1, process_index=0, is_main_process=False))
    file, rows = given.chunks[1]
    file.write_bytes(file.read_bytes()[:200])
    asked.clear()
    assert given.unanswered == len(rows)
    ask(given, Accelerator(cpu=True))
    assert len(asked) == len(rows)


def test_a_file_that_cannot_be_written_is_reported_in_one_line(questions, tmp_path, monkeypatch):
    blocked: Path = tmp_path / "blocked"
    blocked.write_text("")
    monkeypatch.setenv("FINETUNE_CACHE", str(blocked))
    with pytest.raises(UserError, match=r"^FINETUNE_CACHE: cannot write to"):
        ask(questions(), Accelerator(cpu=True))
