"""A teacher's likeliest tokens: what it says about each token of a text, and what they cost a student."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from test_next_word import recurrent, transformer
from torch.nn import functional as F

from pipeline.config.data import Data
from pipeline.config.distil import Distil
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.data.tokenization.tokenizers import train as train_tokenizer
from pipeline.errors import UserError
from pipeline.models.recurrent import IGNORED
from pipeline.tasks import next_word_teacher
from pipeline.tasks.base import Student
from pipeline.tasks.ner import Ner
from pipeline.tasks.next_word import NextWord

WORDS = [f"w{number}" for number in range(80)]
TEXTS = ["w1 w2 w3", "", " ".join(WORDS[:50]), "w7 " * 9]
KL = Distil(teacher="x")


def tokenizer_of(words=WORDS, length=16):
    tokenizer = train_tokenizer("whitespace", [" ".join(words)] * 2, Data("x"))
    tokenizer.model_max_length = length
    return tokenizer


def teacher_of(kind, words=WORDS):
    tokenizer = tokenizer_of(words)
    model = recurrent(len(tokenizer)) if kind == "lstm" else transformer(kind, len(tokenizer))
    return SimpleNamespace(model=model, tokenizer=tokenizer, task=NextWord(), labels=[])


def student_of(tokenizer):
    return Student([], tokenizer, None)


def answers(teacher, texts=TEXTS):
    with torch.inference_mode():
        return NextWord().teacher_answers(texts, teacher, student_of(teacher.tokenizer))


def everything(teacher, text, context=None):
    """(N, V) log-probabilities of each token of a text, from one pass over it; with `context`, over its last tokens."""
    end = teacher.tokenizer.eos_token_id or teacher.tokenizer.sep_token_id
    ids = [end, *teacher.tokenizer(text, add_special_tokens=False)["input_ids"]]
    with torch.inference_mode():
        if context is None:
            return teacher.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        passes = [ids[max(0, stop - context) : stop] for stop in range(1, len(ids) + 1)]
        return torch.stack([teacher.model(torch.tensor([own])).logits[0, -1].log_softmax(-1) for own in passes])


@pytest.mark.parametrize("kind", ["lstm", "gpt2"])
def test_answers_are_the_likeliest_tokens_and_the_rest_at_each_token(kind):
    teacher = teacher_of(kind)
    kept = next_word_teacher.KEPT
    for text, found in zip(TEXTS, answers(teacher), strict=True):
        expected = everything(teacher, text) if kind == "lstm" or len(text.split()) < 16 else None
        assert found.shape == (len(text.split()) + 1, 2 * kept + 1)
        if expected is not None:
            ids, logs = found[:, :kept].astype(int), torch.from_numpy(found[:, kept:-1])
            torch.testing.assert_close(expected.gather(1, torch.from_numpy(ids)), logs, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(expected.topk(kept).values, logs, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(np.exp(found[:, kept:]).sum(axis=-1), 1.0, atol=1e-5)


def test_a_model_of_fixed_length_reads_at_least_half_of_it_before_each_token():
    teacher, kept = teacher_of("gpt2"), next_word_teacher.KEPT
    (found,) = answers(teacher, [TEXTS[2]])
    chosen = torch.from_numpy(found[:, :kept]).long()
    fits = [
        (everything(teacher, TEXTS[2], context).gather(1, chosen) - torch.from_numpy(found[:, kept:-1])).abs().amax(1)
        for context in range(1, 17)
    ]
    contexts = (torch.stack(fits) < 1e-4).float().argmax(dim=0) + 1  # the first one that fits
    assert contexts[:16].tolist() == [*range(1, 17)]
    assert int(contexts[16:].min()) > 8


def test_a_vocabulary_smaller_than_what_is_kept_has_no_rest():
    teacher, kept = teacher_of("lstm", WORDS[:5]), next_word_teacher.KEPT
    (found,) = answers(teacher, ["w1 w2"])
    size = len(teacher.tokenizer)
    assert np.exp(found[:, kept + size :]).max() == 0.0
    np.testing.assert_allclose(np.exp(found[:, kept : kept + size]).sum(axis=-1), 1.0, atol=1e-5)
    paid, full = losses_of(found, torch.randn(3, size), everything(teacher, "w1 w2"))
    torch.testing.assert_close(paid, full, atol=1e-5, rtol=1e-4)


def losses_of(found, logits, whole):
    """What student's logits (N, V) cost against the answers to a text, and against all of the teacher (N, V)."""
    labels = torch.zeros(1, len(logits), dtype=torch.long)
    batch = {"labels": labels, "teacher": torch.from_numpy(found)[None]}
    paid = NextWord().teacher_losses(SimpleNamespace(logits=logits[None]), batch, KL, None)
    full = F.kl_div(logits.log_softmax(-1), whole, reduction="none", log_target=True).sum(-1)
    return paid.soft, full


def test_the_loss_is_below_that_over_the_whole_vocabulary_by_the_divergence_within_the_rest():
    teacher, kept = teacher_of("lstm"), next_word_teacher.KEPT
    (found,), whole = answers(teacher, [TEXTS[2]]), everything(teacher, TEXTS[2]).double()
    logits = torch.randn(whole.shape, generator=torch.Generator().manual_seed(1)) * 3
    paid, full = losses_of(found, logits, whole)
    rest = torch.ones_like(whole, dtype=torch.bool).scatter(1, torch.from_numpy(found[:, :kept]).long(), False)
    inside = [
        (teacher_rest := p[keep]).exp().sum()
        * F.kl_div(q[keep].log_softmax(-1), teacher_rest.log_softmax(-1), reduction="sum", log_target=True)
        for p, q, keep in zip(whole, logits.double(), rest, strict=True)
    ]
    assert (paid < full).all()
    torch.testing.assert_close(full - paid.double(), torch.stack(inside), atol=1e-4, rtol=1e-3)


def test_a_student_that_agrees_with_the_teacher_pays_nothing_and_has_no_gradient():
    teacher = teacher_of("gpt2")
    (found,) = answers(teacher, ["w1 w2 w3"])
    logits = everything(teacher, "w1 w2 w3").clone().requires_grad_()
    batch = {"labels": torch.zeros(1, 4, dtype=torch.long), "teacher": torch.from_numpy(found)[None]}
    paid = NextWord().teacher_losses(SimpleNamespace(logits=logits[None]), batch, KL, None).soft
    assert paid.abs().max() < 1e-6
    assert torch.autograd.grad(paid.sum(), logits)[0].abs().max() < 1e-6


@pytest.mark.parametrize("kind", ["lstm", "gpt2"])
def test_streams_and_blocks_put_the_answer_of_each_token_beside_its_label(kind):
    """Answers whose first number is the token itself."""
    task, teacher = NextWord(), teacher_of(kind)
    tokenizer, model = teacher.tokenizer, teacher.model
    encoded = task.encode({"text": TEXTS}, tokenizer, 16, [])
    width = 2 * next_word_teacher.KEPT + 1
    said = [np.tile(np.array(ids, dtype=np.float32)[:, None], width).ravel() for ids in encoded["input_ids"]]
    lists = [pa.array([own.tolist()], pa.list_(pa.float32())) for own in said]
    columns = {
        **{name: pa.array(encoded[name]) for name in ("words", "bytes")},
        "input_ids": pa.array(encoded["input_ids"], pa.list_(pa.int32())),
        "length": pa.array([len(ids) for ids in encoded["input_ids"]]),
        "teacher": pa.chunked_array(lists),  # in other chunks than the tokens
    }
    split = task.arrange(Dataset(pa.table(columns)), model, tokenizer, 2, running=False, training=True)
    seen = 0
    for rows in split.updates(2, seed=0, epoch=0):
        batch, places = task.collate(split.take(rows), tokenizer)
        known = batch["labels"] != IGNORED
        seen += places
        assert places == int(known.sum())
        assert torch.equal(batch["teacher"][known][:, 0].long(), batch["labels"][known])
    assert seen == sum(map(len, encoded["input_ids"]))


def test_a_teacher_with_other_tokens_is_refused_with_two_remedies():
    check = NextWord().check_teacher
    check(teacher_of("gpt2"), student_of(tokenizer_of(length=99)))
    for words in (WORDS[:-1], [*WORDS, "w5"]):  # one word less; the same words with other ids
        with pytest.raises(UserError, match="its tokens are not those of the student") as refusal:
            check(teacher_of("gpt2"), student_of(tokenizer_of(words)))
        assert "set data.tokenizer to the teacher's folder" in str(refusal.value)
        assert "finetune predict TEACHER" in str(refusal.value)
    with pytest.raises(UserError, match="it does not predict the next word"):
        check(SimpleNamespace(task=Ner()), student_of(tokenizer_of()))


@pytest.mark.parametrize(
    ("distil", "model", "message"),
    [
        ({"loss": "mse"}, {}, "distil.loss: a teacher of next_word gives the probabilities of its likeliest tokens"),
        ({"temperature": 2.0}, {}, "distil.temperature: a teacher of next_word gives the probabilities"),
        (
            {},
            {"adaptive_cutoffs": (10,)},
            "model.adaptive_cutoffs: in training it computes the probability of no other",
        ),
    ],
)
def test_a_loss_that_needs_all_probabilities_is_refused_with_the_setting(distil, model, message):
    with pytest.raises(UserError, match=message):
        Recipe("x", "next_word", Data("x"), Recurrent(**model), distil=Distil("y", **distil))
