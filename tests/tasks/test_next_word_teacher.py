"""Some of a teacher's probabilities: what it says about each token of a text, and what that costs a student."""

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
from pipeline.tasks.ner import Ner
from pipeline.tasks.next_word import NextWord
from pipeline.tasks.teacher_hooks import Student

WORDS = [f"w{number}" for number in range(80)]
TEXTS = ["w1 w2 w3", "", " ".join(WORDS[:50]), "w7 " * 9]
KL = Distil(teacher="x")
KEPT, TOKENS = next_word_teacher.KEPT, next_word_teacher.TOKENS


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
def test_answers_are_the_likeliest_tokens_and_some_others_at_each_token(kind):
    teacher = teacher_of(kind)
    for text, found in zip(TEXTS, answers(teacher), strict=True):
        assert found.shape == (len(text.split()) + 1, 2 * TOKENS + 1)
        ids, known = torch.from_numpy(found[:, :TOKENS]).long(), torch.from_numpy(found[:, TOKENS:-1])
        if kind == "lstm" or len(text.split()) < 16:
            whole = everything(teacher, text)
            torch.testing.assert_close(whole.gather(1, ids), known, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(whole.topk(KEPT).values, known[:, :KEPT], atol=1e-5, rtol=1e-5)
        assert known[:, KEPT:].amax(dim=1).le(known[:, KEPT - 1] + 1e-6).all()
        total = known[:, :KEPT].exp().sum(dim=1) + torch.from_numpy(found[:, -1]).exp()
        torch.testing.assert_close(total, torch.ones_like(total), atol=1e-5, rtol=1e-5)


def test_a_model_of_fixed_length_reads_at_least_half_of_it_before_each_token():
    teacher = teacher_of("gpt2")
    (found,) = answers(teacher, [TEXTS[2]])
    ids, known = torch.from_numpy(found[:, :TOKENS]).long(), torch.from_numpy(found[:, TOKENS:-1])
    fits = [(everything(teacher, TEXTS[2], size).gather(1, ids) - known).abs().amax(dim=1) for size in range(1, 17)]
    contexts = (torch.stack(fits) < 1e-4).float().argmax(dim=0) + 1  # the first one that fits
    assert contexts[:16].tolist() == [*range(1, 17)]
    assert int(contexts[16:].min()) > 8


def losses_of(found, logits, whole):
    """What a student's logits (N, V) cost against the answers to a text, and against all of the teacher (N, V)."""
    labels = torch.zeros(1, len(logits), dtype=torch.long)
    batch = {"labels": labels, "teacher": torch.as_tensor(found)[None]}
    paid = NextWord().teacher_losses(SimpleNamespace(logits=logits[None]), batch, KL, None)
    full = F.kl_div(logits.log_softmax(-1), whole, reduction="none", log_target=True).sum(-1)
    return paid.soft, full


def test_a_vocabulary_smaller_than_what_is_kept_has_no_others():
    teacher = teacher_of("lstm", WORDS[:5])
    (found,), whole = answers(teacher, ["w1 w2"]), everything(teacher, "w1 w2")
    assert np.exp(found[:, -1]).max() == 0.0
    paid, full = losses_of(found, torch.randn(whole.shape), whole)
    torch.testing.assert_close(paid, full, atol=1e-5, rtol=1e-4)


def test_the_expected_loss_and_its_gradient_are_those_over_the_whole_vocabulary():
    """The mean over 500 equidistant values of the number that decides what is drawn."""
    generator = torch.Generator().manual_seed(1)
    whole = torch.randn(2, 80, generator=generator).mul(1.5).log_softmax(-1)
    logits = torch.randn(2, 80, generator=generator).mul(2).requires_grad_()
    chances, paid = (torch.arange(500) + 0.5) / 500, torch.zeros(2)
    for chance in chances:
        found = next_word_teacher._chosen(whole[None], chance.expand(1, 2).double())[0]
        paid = paid + losses_of(found, logits, whole)[0] / len(chances)
    full = losses_of(found, logits, whole)[1]
    torch.testing.assert_close(paid, full, atol=2e-3, rtol=2e-3)
    gradients = [torch.autograd.grad(loss.sum(), logits)[0] for loss in (paid, full)]
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-2)


def test_a_student_that_agrees_with_the_teacher_pays_nothing():
    teacher = teacher_of("gpt2")
    (found,), whole = answers(teacher, ["w1 w2 w3"]), everything(teacher, "w1 w2 w3")
    assert losses_of(found, whole, whole)[0].abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["lstm", "gpt2"])
def test_streams_and_blocks_put_the_answer_of_each_token_beside_its_label(kind):
    """Answers whose first number is the token itself."""
    task, teacher = NextWord(), teacher_of(kind)
    tokenizer, model = teacher.tokenizer, teacher.model
    encoded = task.encode({"text": TEXTS}, tokenizer, 16, [])
    width = 2 * TOKENS + 1
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
        ({"loss": "mse"}, {}, "distil.loss: a teacher of next_word gives the probabilities of some tokens only"),
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


def test_outputs_beyond_the_tokens_of_the_tokenizer_are_no_tokens():
    class Wide:
        tokenizer = range(50)

    logits = torch.randn(2, 3, 64, generator=torch.Generator().manual_seed(0))
    logits[..., 50:] = 9.0  # an embedding matrix that is padded to a multiple of 64
    narrow = next_word_teacher._of_tokens(SimpleNamespace(logits=logits), Wide())
    assert torch.equal(narrow, logits[..., :50])
    chosen = next_word_teacher._chosen(narrow, torch.rand(2, 3))
    assert chosen[..., :TOKENS].max() < 50
