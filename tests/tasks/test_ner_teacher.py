"""What a teacher says about words is what all its sequences of tags say, and what it costs a student."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForTokenClassification

from pipeline.config.data import Data
from pipeline.config.distil import Distil
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.data.gathering import Table
from pipeline.data.tagging import tags as schemes
from pipeline.data.tokenization.tokenizers import load_tokenizer, train
from pipeline.data.tokenization.word_alignment import surroundings
from pipeline.errors import UserError
from pipeline.models.recurrent import IGNORED, RecurrentConfig
from pipeline.tasks import ner_teacher
from pipeline.tasks.ner import Ner
from pipeline.tasks.teacher_hooks import Student
from pipeline.training.loss import DistilObjective, Objective

IOB2 = ["O", "B-X", "I-X"]
BIOES = ["O", "B-X", "E-X", "I-X", "S-X"]
WORDS = ["Ann", "Lee", "internationalisation", "saw", "\u200b"]
KL = Distil(teacher="x")


def tokenizer_of(kind):
    if kind == "minilm":  # which drops control characters
        return load_tokenizer("sample:minilm", pretokenized=True)
    return train(kind, ["Ann", "Lee", "saw", "inter", "nation"] * 2, Data("x", vocab_size=60), pretokenized=True)


def tagger(labels, crf, kind="wordpiece", seed=0):
    """A random tagger whose scores differ by several units."""
    torch.manual_seed(seed)
    tokenizer = tokenizer_of(kind)
    config = RecurrentConfig(
        vocab_size=len(tokenizer), embedding_size=8, hidden_size=8, num_hidden_layers=1, bidirectional=True, crf=crf,
        id2label=dict(enumerate(labels)), label2id={label: index for index, label in enumerate(labels)},
        pad_token_id=tokenizer.pad_token_id, special_token_ids=[*itertools.chain(*surroundings(tokenizer))],
    )  # fmt: skip
    model = AutoModelForTokenClassification.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    return SimpleNamespace(model=model, tokenizer=tokenizer, task=Ner(), labels=list(labels))


def student_of(labels, crf=False, kind="word"):
    model = tagger(labels, crf, kind, seed=1)
    return Student(list(labels), model.tokenizer, model.model.config), model.model


def answers(teacher, labels, *sentences):
    with torch.inference_mode():
        return Ner().teacher_answers(list(sentences), teacher, student_of(labels)[0])


def enumerated(teacher, words, labels):
    """(W, C): the sum over all sequences of tags of the tokens, each read at the first tokens of words."""
    sizes = [max(1, len(teacher.tokenizer.tokenize(word))) for word in words]
    first = np.cumsum(sizes) - sizes
    ids = torch.tensor(
        [pa.table(Ner().encode({"tokens": [words]}, teacher.tokenizer, 99, IOB2))["input_ids"][0].as_py()]
    )
    crf = teacher.model.crf
    if crf is not None:
        crf.train()
    outputs = teacher.model(ids)
    teacher.model.eval()
    emissions = outputs.logits[0, 1:-1].double()  # without [CLS] and [SEP]
    paths = [*itertools.product(range(len(teacher.labels)), repeat=len(emissions))]
    scores = emissions[range(len(emissions)), torch.tensor(paths)].sum(dim=1)
    if crf is not None:
        _, start, steps, end = (part.double() for part in outputs.chain)
        tags = torch.tensor(paths)
        scores = scores + start[tags[:, 0]] + end[tags[:, -1]] + steps[tags[:, :-1], tags[:, 1:]].sum(dim=1)
    found = np.zeros((len(words), len(labels)))
    for path, probability in zip(paths, scores.softmax(dim=0).tolist(), strict=True):
        names = [teacher.labels[path[place]] for place in first]
        if labels != teacher.labels:
            names = schemes.convert(names, schemes.scheme_of(labels))
        for word, name in enumerate(names):
            found[word, labels.index(name)] += probability
    return found


@pytest.mark.parametrize("crf", [False, True], ids=["softmax", "crf"])
@pytest.mark.parametrize(("own", "labels"), [(IOB2, IOB2), (IOB2, BIOES), (BIOES, IOB2), (BIOES, BIOES)])
def test_answers_are_the_sums_over_all_sequences_of_the_teacher(own, labels, crf):
    teacher, words = tagger(own, crf), ["Ann", "internat", "saw"]
    assert [len(teacher.tokenizer.tokenize(word)) > 1 for word in words] == [False, True, False]
    (found,) = answers(teacher, labels, words)
    expected = enumerated(teacher, words, labels)
    np.testing.assert_allclose(np.exp(found), np.maximum(expected, np.exp(ner_teacher.FLOOR)), atol=2e-6)
    assert not teacher.model.training


@pytest.mark.parametrize("crf", [False, True], ids=["softmax", "crf"])
def test_the_answers_of_a_sentence_do_not_depend_on_the_others(crf):
    teacher = tagger(IOB2, crf)
    sentences = [["Ann"], [], ["saw", "internationalisation", "Lee"], ["Ann", "Lee"] * 400]
    together = answers(teacher, BIOES, *sentences)
    for own, sentence in zip(together, sentences, strict=True):
        assert own.shape == (len(sentence), len(BIOES))
        np.testing.assert_allclose(np.exp(own), np.exp(answers(teacher, BIOES, sentence)[0]), atol=1e-5)
        np.testing.assert_allclose(np.exp(own).sum(axis=-1), 1.0, atol=1e-5)


def test_a_word_that_the_teacher_cannot_read_has_no_answer():
    (found,) = answers(tagger(IOB2, crf=False, kind="minilm"), IOB2, ["Ann", "\u200b", "saw"])
    assert np.isnan(found).all(axis=-1).tolist() == [False, True, False]


def batch_of(task, sentences, tags, student, found):
    """A batch of a student's rows with the teacher's answers, and its number of places."""
    rows = {"tokens": sentences} | ({"tags": tags} if tags else {})
    encoded = pa.table(task.encode(rows, student.tokenizer, 99, student.labels))
    lengths = pa.array([len(ids) for ids in encoded["input_ids"].to_pylist()])
    flat = pa.array([own.ravel().tolist() for own in found], pa.list_(pa.float32()))
    encoded = encoded.append_column("length", lengths)
    answered = Table(encoded.append_column("teacher", task.teacher_column(encoded, flat, student)))
    return task.collate(*answered.take([np.arange(len(encoded))]), student.tokenizer)


def losses(outputs, batch, settings=KL):
    def label_losses(logits, labels):
        return torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none")

    return Ner().teacher_losses(outputs, batch, settings, label_losses)


SENTENCES, TAGS = [["Ann", "saw", "Lee"], [], ["Ann", "\u200b"]], [["S-X", "O", "S-X"], [], ["O", "O"]]


def test_a_student_without_crf_pays_the_divergence_at_each_word_that_has_an_answer():
    student, model = student_of(BIOES)
    found = answers(tagger(IOB2, crf=False, kind="minilm"), BIOES, *SENTENCES)
    batch, places = batch_of(Ner(), SENTENCES, TAGS, student, found)
    assert places == 4  # the last word has no answer
    outputs = model(batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"])
    paid = losses(outputs, batch)
    target = torch.tensor(np.concatenate(found)[:4]).double().log_softmax(-1)
    logits = torch.cat([outputs.logits[0], outputs.logits[1, :1]])
    expected = (target.exp() * (target - logits.double().log_softmax(-1))).sum(-1)
    torch.testing.assert_close(paid.soft.double(), expected, rtol=1e-4, atol=1e-5)
    assert paid.labelled.tolist() == [True] * 4
    torch.testing.assert_close(
        paid.hard, torch.nn.functional.cross_entropy(logits, torch.tensor([4, 0, 4, 0]), reduction="none")
    )


def test_rows_that_only_the_teacher_answers_have_no_label():
    student, model = student_of(BIOES, crf=True)
    found = answers(tagger(IOB2, crf=False, kind="minilm"), BIOES, *SENTENCES)
    batch, places = batch_of(Ner(), SENTENCES, None, student, found)
    outputs = model.train()(batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"])
    paid = losses(outputs, batch)
    assert (places, len(paid.soft)) == (4, 4)
    assert paid.labelled.sum() == 0
    assert paid.hard.tolist() == [0.0] * 4


def marginals_by_enumeration(emissions, chain):
    _, start, steps, end = chain
    tags = torch.tensor([*itertools.product(range(emissions.shape[-1]), repeat=len(emissions))])
    scores = emissions[range(len(emissions)), tags].sum(dim=1) + start[tags[:, 0]] + end[tags[:, -1]]
    scores = scores + steps[tags[:, :-1], tags[:, 1:]].sum(dim=1)
    tags, scores = tags[scores.isfinite()], scores[scores.isfinite()]
    return torch.einsum(
        "p,ptc->tc", scores.softmax(0), torch.nn.functional.one_hot(tags, emissions.shape[-1]).to(scores)
    )


def test_a_student_with_crf_pays_the_divergence_of_its_marginals_with_their_gradients():
    student, model = student_of(BIOES, crf=True)
    found = answers(tagger(IOB2, crf=False, kind="minilm"), BIOES, *SENTENCES)
    batch, _ = batch_of(Ner(), SENTENCES, TAGS, student, found)
    model = model.double().train()
    outputs = model(batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"])
    paid = losses(outputs, batch)
    expected = []
    for row, sentence in enumerate(own for own in SENTENCES if own):
        found_here = marginals_by_enumeration(outputs.logits[row, : len(sentence)], outputs.chain)
        for word, q in enumerate(found_here):
            p = batch["teacher"][row, word].double()
            if not p.isnan().any():
                p = p.masked_fill(q == 0, float("-inf")).softmax(-1)
                expected.append((p[p > 0] * (p[p > 0] / q[p > 0]).log()).sum())
    torch.testing.assert_close(paid.soft.double(), torch.stack(expected), rtol=1e-4, atol=1e-5)
    parameters = [outputs.logits, *model.crf.parameters()]
    reference = torch.autograd.grad(torch.stack(expected).sum(), parameters, retain_graph=True)
    found = torch.autograd.grad(paid.soft.sum(), parameters, retain_graph=True)
    for ours, theirs in zip(found, reference, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    # The NLL of a sentence in shares of its words with an answer.
    torch.testing.assert_close(paid.hard.sum().double(), outputs.nll.sum().double(), rtol=1e-5, atol=1e-5)


def test_a_teacher_that_gives_impossible_tags_most_of_the_mass_costs_a_crf_nothing():
    student, model = student_of(IOB2, crf=True)
    found = [np.log(np.array([[0.01, 0.01, 0.98], [0.2, 0.3, 0.5]], dtype=np.float32))]  # I-X cannot come first
    batch, _ = batch_of(Ner(), [["Ann", "Lee"]], None, student, found)
    outputs = model.train()(batch["input_ids"], labels=batch["labels"])
    paid = losses(outputs, batch)
    assert paid.soft[0] == 0.0
    (gradient,) = torch.autograd.grad(paid.soft.sum(), outputs.logits)
    assert gradient.isfinite().all()
    assert paid.soft[1].item() > 0.0


def test_the_distribution_of_a_word_is_written_over_the_sub_words_of_the_student():
    student, _ = student_of(BIOES, kind="wordpiece")
    words = [["Ann", "internation", "saw"] * 20]
    certain = np.full((60, 5), ner_teacher.FLOOR, dtype=np.float32)
    certain[:, BIOES.index("S-X")] = 0.0
    batch, places = batch_of(Ner(), words, [["S-X"] * 60], student, [certain])
    answered = ner_teacher.is_answered(batch["teacher"])
    assert places == int(answered.sum()) > 60
    torch.testing.assert_close(batch["teacher"][answered].argmax(-1), batch["labels"][answered])
    assert torch.equal(answered, batch["labels"] != IGNORED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["O", "B-Y", "I-Y"]}, "it does not find X, which the data has; it finds Y"),
        ({"task": SimpleNamespace(columns={"text": ()})}, "it does not tag words"),
    ],
)
def test_a_teacher_that_cannot_answer_is_refused(change, message):
    teacher = SimpleNamespace(**{**vars(tagger(IOB2, crf=False)), **change})
    with pytest.raises(UserError, match=message):
        Ner().check_teacher(teacher, student_of(IOB2)[0])


def test_the_export_of_a_crf_is_refused_as_a_teacher():
    teacher = tagger(IOB2, crf=True)
    teacher.model = SimpleNamespace(config=teacher.model.config)
    with pytest.raises(UserError, match="the export of a CRF, which has no marginals; name its run"):
        Ner().check_teacher(teacher, student_of(IOB2)[0])


def test_a_crf_cannot_learn_logits():
    with pytest.raises(UserError, match=r"distil.loss: mse compares logits, and a teacher of ner gives probabilities"):
        Recipe("x", "ner", Data("x"), Recurrent(), distil=Distil("y", loss="mse"))


@pytest.mark.parametrize("crf", [False, True], ids=["softmax", "crf"])
def test_the_losses_of_micro_batches_add_up_to_those_of_one_batch(crf):
    """Of rows with labels, without, and with a word that has no answer; the weight of each is its number of places."""
    student, model = student_of(BIOES, crf=crf)
    sentences = [["Ann", "saw", "Lee"], ["Lee"], ["Ann", "\u200b"], ["saw"] * 7]
    found = answers(tagger(IOB2, crf=False, kind="minilm"), BIOES, *sentences)
    tags = [["S-X", "O", "S-X"], ["O"], ["S-X", "O"], ["O"] * 7]
    settings = Distil("x", hard_share=0.3)

    def total(rows):
        batch, places = batch_of(
            Ner(), [sentences[row] for row in rows], [tags[row] for row in rows], student, [found[row] for row in rows]
        )
        batch["labels"][[row == 1 for row in rows]] = IGNORED
        inputs = {name: values for name, values in batch.items() if name != "teacher"}
        objective = DistilObjective(settings, Ner().teacher_losses, Objective())
        loss = objective.loss(model.train()(**inputs), batch)
        return torch.cat([loss[None], *(g.flatten() for g in torch.autograd.grad(loss, model.parameters()))]) * places

    torch.testing.assert_close(total([0, 1]) + total([2]) + total([3]), total([0, 1, 2, 3]), rtol=1e-4, atol=1e-5)
