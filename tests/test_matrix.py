"""Trains every kind of model on every task for a few updates, and checks that the saved model gives the same outputs.

Each model is loaded twice: by `pipeline.inference`, and by the Auto classes of transformers in a process that cannot
import this package. All tests share that process, because its imports take longer than the tests.
"""

from __future__ import annotations

import inspect
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import clean_process
import pytest
from conftest import NEGATIVE, POSITIVE, save_checkpoint

from pipeline import inference, run, saving
from pipeline.config.data import Data
from pipeline.config.models import Lora, ModelSettings, Pretrained, Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.models.recurrent import RecurrentForCausalLM

UPDATES = 3
SENTENCES = [("Ada", "B-PER"), ("Bell", "I-PER"), ("went", "O"), ("to", "O"), ("Paris", "B-LOC"), (".", "O")]
TEXTS: list[Any] = ["Ada went to Paris , funny", "a dull mess"]
PAIRS: list[Any] = [("a warm film", "a dull , lifeless mess"), ("boring", "a joy , and so on")]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder with data for each task, and small BERT, GPT-2 and T5 checkpoints with tokenizers."""
    folder = tmp_path_factory.mktemp("matrix")
    texts = [f"{text} {number}" for number in range(10) for text in POSITIVE + NEGATIVE]
    labels = ["good" if text.rsplit(maxsplit=1)[0] in POSITIVE else "bad" for text in texts]
    (folder / "sentiment.jsonl").write_text(
        "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in zip(texts, labels, strict=True))
    )
    rows = list(zip(texts, [*texts[1:], texts[0]], labels, strict=True))
    multi = [{"text": text, "label": [label, "odd"][: number % 3]} for number, (text, _, label) in enumerate(rows)]
    numbers = [{"text": text, "label": len(text) / 7 + 100 * (label == "good")} for text, _, label in rows]
    pairs = [{"sentence1": one, "sentence2": two, "label": label} for one, two, label in rows]
    scored = [{"premise": one, "hypothesis": two, "score": len(one + two) / 9} for one, two, _ in rows]
    for name, made in {"multi_label": multi, "regression": numbers, "pairs": pairs, "scored_pairs": scored}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    (folder / "translation.jsonl").write_text(
        "".join(json.dumps({"source": text, "target": text[::-1]}) + "\n" for text in texts)
    )
    (folder / "next_word.txt").write_text("\n".join(texts) + "\n")
    sentences = [[*SENTENCES[start:], (f"n{number}", "O")] for number in range(20) for start in (0, 2, 4)]
    (folder / "ner.conll").write_text("\n".join("".join(f"{w}\t{t}\n" for w, t in words) for words in sentences))
    save_checkpoint(folder / "bert", "wordpiece", texts)
    save_checkpoint(folder / "gpt2", "bpe", texts)
    save_checkpoint(folder / "t5", "bpe", texts)
    return folder


def a_recurrent(cell: Any, bidirectional: bool, **more: Any) -> Recurrent:
    return Recurrent(cell=cell, bidirectional=bidirectional, hidden_size=8, embedding_size=8, **more)


MODELS: dict[str, Callable[[Path], ModelSettings]] = {
    "rnn": lambda _: a_recurrent("rnn", False),
    "lstm": lambda _: a_recurrent("lstm", False),
    "gru": lambda _: a_recurrent("gru", False),
    "birnn": lambda _: a_recurrent("rnn", True),
    "bilstm": lambda _: a_recurrent("lstm", True),
    "bigru": lambda _: a_recurrent("gru", True),
    "mingru": lambda _: a_recurrent("mingru", False, conv_kernel=3),
    "bimingru": lambda _: a_recurrent("mingru", True, update_bias=-1.0),
    "minlstm": lambda _: a_recurrent("minlstm", False),
    "biminlstm": lambda _: a_recurrent("minlstm", True, conv_kernel=2),
    "bert": lambda folder: Pretrained(str(folder / "bert")),
    "gpt2": lambda folder: Pretrained(str(folder / "gpt2")),
    "bert-lora": lambda folder: Pretrained(str(folder / "bert"), lora=Lora(rank=2)),
    "gpt2-lora": lambda folder: Pretrained(str(folder / "gpt2"), lora=Lora(rank=2)),
    "scratch-bert": lambda _: Scratch("bert", hidden_size=16, layers=1),
    "scratch-gpt2": lambda _: Scratch("gpt2", hidden_size=16, layers=1),
}
TRANSLATORS: dict[str, Callable[[Path], ModelSettings]] = {
    "gru-fed": lambda _: replace(a_recurrent("gru", True), attention="additive", input_feeding=True),
    "lstm-alone": lambda _: replace(a_recurrent("lstm", False), attention="none"),
    "bilstm-tied": lambda _: a_recurrent("lstm", True, layers=2, tie_embeddings=True),
    "bigru-apart": lambda _: a_recurrent("gru", True, tie_embeddings=True),
    "bimingru-attention": lambda _: a_recurrent("mingru", True, conv_kernel=3),
    "scratch-t5": lambda _: Scratch("t5", hidden_size=16, layers=1),
    "scratch-bart": lambda _: Scratch("bart", hidden_size=16, layers=1),
    "t5": lambda folder: Pretrained(str(folder / "t5")),
    "t5-lora": lambda folder: Pretrained(str(folder / "t5"), lora=Lora(rank=2)),
}
CHARACTERS: dict[str, Any] = {"rnn": None, "lstm": "cnn", "gru": "lstm", "mingru": "cnn", "minlstm": "lstm"}
TASKS = {
    "sentiment": "sentiment.jsonl",
    "multi_label": "multi_label.jsonl",
    "regression": "regression.jsonl",
    "pairs": "pairs.jsonl",
    "scored_pairs": "scored_pairs.jsonl",
    "ner": "ner.conll",
    "ner-crf": "ner.conll",
    "next_word": "next_word.txt",
    "translation": "translation.jsonl",
}
ANSWERS = {
    "sentiment": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
    "pairs": "single_label_classification",
    "scored_pairs": "regression",
}
# What runs in every run of the tests: each cell and each family of transformers, but not with every task.
ONE_OF_EACH = {"bilstm", "gpt2", "bert-lora", "scratch-bert"}
QUICK = {
    "sentiment": {"lstm", "bigru", "mingru", "biminlstm", "bert", "gpt2", "bert-lora", "gpt2-lora", "scratch-bert"},
    **dict.fromkeys(("multi_label", "regression", "pairs", "scored_pairs"), ONE_OF_EACH),
    "ner": {"gru", "birnn", "biminlstm", "bert", "gpt2-lora", "scratch-gpt2"},
    "ner-crf": {"rnn", "bilstm", "gru", "mingru", "biminlstm", "bert", "gpt2", "bert-lora", "gpt2-lora"},
    "next_word": {"rnn", "lstm", "gru", "mingru", "bert", "gpt2", "bert-lora", "gpt2-lora", "scratch-gpt2"},
    "translation": {"bilstm", "scratch-bart", "t5-lora"},
}
CASES = [
    pytest.param(task, model, marks=() if model in QUICK[task] else pytest.mark.slow)
    for task in TASKS
    for model in (MODELS if task != "translation" else {name: MODELS[name] for name in ("rnn", "bilstm")} | TRANSLATORS)
    if not (task == "next_word" and model.startswith("bi"))  # the backward direction would read the answer
]


def a_recipe(task: str, kind: str, workplace: Path, folder: Path) -> Recipe:
    """A short recipe. With a CRF, tags are BIOES and recurrent models read characters. A model whose name ends in
    `apart` has a vocabulary for each side."""
    model: Any = (MODELS | TRANSLATORS)[kind](workplace)
    crf = task == "ner-crf"
    if crf:
        more = {"char_encoder": CHARACTERS[model.cell]} if isinstance(model, Recurrent) else {}
        model = replace(model, crf=True, **more)
    settings: Any = {"scheme": "bioes" if crf else None, "separate_vocabs": kind.endswith("-apart") or None}
    return Recipe(
        name=f"{task}-{kind}",
        task="sentiment" if task in ANSWERS else task.removesuffix("-crf"),
        data=Data(str(workplace / TASKS[task]), max_length=32, **settings),
        model=model,
        optim=Optim(learning_rate=0.02),
        train=Train(max_steps=UPDATES, batch_size=8, output_dir=str(folder)),
    )


def outputs_of(model, tokenizer, texts: list) -> dict[str, list]:
    """A model's outputs in plain transformers: logits (B, T, C) or (B, C), and labels or four generated tokens."""
    import torch
    from transformers import pipeline

    model.eval()
    pairs = not isinstance(texts[0], str)
    columns = list(zip(*texts, strict=True)) if pairs else [texts]
    with torch.no_grad():
        batch = tokenizer(*map(list, columns), return_tensors="pt", padding=True)
        if model.config.is_encoder_decoder:
            batch["labels"] = tokenizer(text_target=list(columns[0]), return_tensors="pt", padding=True)["input_ids"]
        outputs = {"logits": model(**batch).logits.tolist()}
        if model.can_generate():
            one = tokenizer(texts[:1], return_tensors="pt")
            outputs["written"] = model.generate(**one, max_new_tokens=4, num_beams=2, do_sample=False).tolist()
        else:
            kind = "token" if type(model).__name__.endswith("ForTokenClassification") else "text"
            inputs = [dict(zip(("text", "text_pair"), pair, strict=True)) for pair in texts] if pairs else texts
            every = {"top_k": None} if kind == "text" else {}
            answer = pipeline(f"{kind}-classification", model=model, tokenizer=tokenizer)
            outputs["labels"] = [answer(given, **every) for given in inputs]
    return outputs


CLEAN_PROCESS = f"""
import json, sys
import transformers

{inspect.getsource(outputs_of)}

for line in sys.stdin:
    folder, head, texts = json.loads(line)
    model = getattr(transformers, "AutoModelFor" + head).from_pretrained(folder, trust_remote_code=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    print(json.dumps([type(model).__module__, outputs_of(model, tokenizer, texts)], default=float), flush=True)
"""


@pytest.fixture(scope="module")
def in_clean_process(tmp_path_factory) -> Iterator[Callable[[Path, str, list], Any]]:
    """Loads a saved model in a process without this package; returns the module of its class, and its outputs."""
    process = subprocess.Popen(
        clean_process.command(CLEAN_PROCESS),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(log := tmp_path_factory.mktemp("clean_process") / "stderr").open("w"),
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def ask(folder: Path, head: str, texts: list) -> Any:
        process.stdin.write(json.dumps([str(folder), head, texts]) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, log.read_text()
        return json.loads(line)

    yield ask
    process.stdin.close()
    assert process.wait(timeout=30) == 0


def approximately(value: Any) -> Any:
    """`value` with a tolerance of 1e-6 on floats: the last bits depend on the layout of the weights in memory."""
    if isinstance(value, dict):
        return {name: approximately(part) for name, part in value.items()}
    if isinstance(value, list):
        return [approximately(part) for part in value]
    return pytest.approx(value, abs=1e-6, rel=1e-6) if isinstance(value, float) else value


@pytest.mark.parametrize(("task", "kind"), CASES, ids=lambda name: name)
def test_a_trained_model_gives_the_same_outputs_after_it_is_saved_and_loaded(
    task, kind, workplace, in_clean_process, tmp_path, monkeypatch
):
    trained: list[Any] = []
    scores = run._scores
    monkeypatch.setattr(run, "_scores", lambda this, *rest: (trained.append(this), scores(this, *rest))[1])
    recipe = a_recipe(task, kind, workplace, tmp_path / "run")
    metrics = run.train(recipe)
    (this,) = trained
    assert metrics["train"]["updates"] == UPDATES
    assert {"validation", "test"} < metrics.keys()
    model, tokenizer = this.model.eval(), saving.saved_tokenizer(this)
    texts = PAIRS if task.endswith("pairs") else TEXTS
    before = list(this.task.predict(texts, model, tokenizer, this.labels))
    assert list(inference.predict(str(tmp_path / "run"), texts)) == approximately(before)
    module, loaded = in_clean_process(tmp_path / "run/model", this.task.head, texts)
    travels = isinstance(recipe.model, Recurrent) or task == "ner-crf"
    assert module.split(".")[0] == ("transformers_modules" if travels else "transformers")
    expected = json.loads(json.dumps(outputs_of(model, tokenizer, texts), default=float))
    assert loaded == approximately(expected)
    assert model.config.problem_type == ANSWERS.get(task)
    if task in ANSWERS:  # transformers' own pipeline gives the same answers
        scores = [{answer["label"]: answer["score"] for answer in answers} for answers in expected["labels"]]
        assert scores == approximately([answer.get("scores", {"score": answer.get("score")}) for answer in before])
    assert ("written" in expected) == (task in ("next_word", "translation"))
    assert isinstance(model, RecurrentForCausalLM) == (task == "next_word" and isinstance(recipe.model, Recurrent))
