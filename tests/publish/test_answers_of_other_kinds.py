"""Cards, snippets and reference outputs of models with several labels, numbers or pairs of texts."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import NEGATIVE, POSITIVE, save_checkpoint
from hub_server import card_errors

from pipeline import inference
from pipeline import run as runs
from pipeline.compare.table import print_table
from pipeline.config.data import Data
from pipeline.config.models import Lora, Pretrained, Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Train
from pipeline.publish import reference_outputs, verify
from pipeline.publish.card import card
from pipeline.publish.card_data import CardData
from pipeline.publish.staging import open_run

TEXT = "a gripping , funny and moving film"
PAIR = ("A man is playing a guitar .", "Somebody makes music .")
SMALL = Recurrent(hidden_size=8, embedding_size=8)
MODELS: dict[str, Any] = {
    "several": SMALL,
    "number": Scratch("bert", hidden_size=16, layers=1),
    "pairs": SMALL,
    "pairs-bert": Scratch("bert", hidden_size=16, layers=1),
    "pairs-gpt2": Scratch("gpt2", hidden_size=16, layers=1),
    "scored-pairs": SMALL,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kinds")
    rows = [(f"{text} {number}", text in POSITIVE, number) for number in range(10) for text in POSITIVE + NEGATIVE]
    made = {
        "several": [{"text": t, "label": ["good"] * good + ["odd"] * (n % 2)} for t, good, n in rows],
        "number": [{"text": t, "label": 0.5 + good + n / 7} for t, good, n in rows],
        "pairs": [{"sentence1": t, "sentence2": t[::2], "label": "ab"[good]} for t, good, n in rows],
        "scored-pairs": [{"sentence1": t, "sentence2": t[::2], "score": n / 3 + good} for t, good, n in rows],
    }
    for name, own in made.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))
    save_checkpoint(folder / "bert", "wordpiece", [t for t, _, _ in rows])
    return folder


def run_of(place: Path, kind: str, model: Any, folder: Path) -> Path:
    data = Data(str(place / f"{kind.removesuffix('-bert').removesuffix('-gpt2')}.jsonl"), max_length=64)
    runs.train(Recipe(kind, "sentiment", data, model, train=Train(max_steps=4, batch_size=16, output_dir=str(folder))))
    return folder


@pytest.fixture(scope="module", params=MODELS)
def finished(request, place, tmp_path_factory) -> Path:
    return run_of(place, request.param, MODELS[request.param], tmp_path_factory.mktemp("runs") / request.param)


SAYS = {
    "several": [
        "This model assigns any number of these labels, or none, to a text: good, odd.",
        "It is the same for all and maximises micro F1 on the validation split",
        "`thresholds` in `config.json` holds the probability from which on a text gets a label",
        "| test | 8 | micro_f1 |",
        "confidence interval of the test accuracy",
    ],
    "number": ["This model assigns a number to a text.", "pearson and spearman are correlations", "| test | 8 | mse |"],
    "pairs": ["This model assigns one of these labels to a pair of texts: a, b.", "| test | 8 | accuracy |"],
    "scored-pairs": ["This model assigns a number to a pair of texts.", "| test | 8 | spearman |"],
}
SAYS |= {"pairs-bert": SAYS["pairs"], "pairs-gpt2": SAYS["pairs"]}


def test_the_card_says_what_the_model_does(finished):
    text = (finished / "model/README.md").read_text()
    for line in SAYS[finished.name]:
        assert line in text, line
    assert card_errors(text) == []
    assert "pipeline_tag: text-classification" in text


def executed(code: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    return printed.getvalue()


def test_both_snippets_of_the_card_run_and_print_the_same_answer(finished):
    text = (finished / "model/README.md").read_text().replace("path/to/this/folder", str(finished / "model"))
    plain, ours = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    printed = {
        label: float(score) for label, score in re.findall(r"'label': '(.*?)', 'score': ([-.\de]+)", executed(plain))
    }
    given = PAIR if "pairs" in finished.name else TEXT
    (expected,) = inference.predict(str(finished), [given])
    for name, score in expected.get("scores", {"score": expected.get("score")}).items():
        if "scores" in expected and "top_k" not in plain and name != expected["label"]:
            continue
        assert printed[name] == pytest.approx(score, abs=1e-4)
    answers = executed(ours)
    assert "'text': 'one text'" in answers
    assert ("'text_pair': 'and the other'" in answers) == ("pairs" in finished.name)


def test_reference_outputs_are_those_of_pairs(finished):
    reference = reference_outputs.read(finished)
    assert "unasked" not in reference
    for text in reference["texts"]:
        assert isinstance(text, list if "pairs" in finished.name else str)
    if "pairs" in finished.name:
        first, second = reference["texts"][0]
        assert first.replace(" ", "")[::2].startswith(second.replace(" ", "")[:1])
        assert len(first) > len(second) > 2
    model = inference.load(str(finished))
    again = reference_outputs.compute_outputs(model.model, model.tokenizer, reference["texts"])
    assert reference_outputs.first_difference(reference["answers"], again) is None


@pytest.mark.slow  # imports everything in another process
def test_a_model_of_pairs_is_verified_in_a_clean_process(finished):
    verify.verify_in_clean_process(
        finished / "model", reference_outputs.read(finished), open_run(str(finished)).has_code
    )


@pytest.mark.parametrize("kind", ["several", "number", "pairs"])
def test_an_adapter_keeps_what_a_config_would_say(kind, place, tmp_path):
    pytest.importorskip("peft")
    model = Pretrained(str(place / "bert"), lora=Lora(rank=2, merge=False))
    folder = run_of(place, kind, model, tmp_path / "run")
    metrics = json.loads((folder / "metrics.json").read_text())
    scores = inference.evaluate(str(folder), Data(str(place / f"{kind}.jsonl")))
    assert scores.get("thresholds") == metrics["validation"].get("thresholds")
    loaded = inference.load(str(folder))
    assert type(loaded.task).__name__ == {"several": "MultiLabel", "number": "Regression", "pairs": "Sentiment"}[kind]
    assert bool(loaded.task.reads_pairs) == (kind == "pairs")
    text = (folder / "model/README.md").read_text()
    plain, _ = re.findall(r"```python\n(.*?)```", text.replace("path/to/this/folder", str(folder / "model")), re.DOTALL)
    (expected,) = inference.predict(str(folder), [PAIR if kind == "pairs" else TEXT])
    score = expected["score"] if kind != "several" else max(expected["scores"].values())
    assert f"'score': {score:.4f}"[:-1] in executed(plain)


def test_runs_are_compared_by_their_own_scores(place, tmp_path, capsys):
    folders = [run_of(place, kind, SMALL, tmp_path / kind) for kind in ("several", "number")]
    for folder, names in zip(folders, (("micro_f1", "macro_f1", "accuracy"), ("mse", "pearson")), strict=True):
        print_table([folder])
        printed = capsys.readouterr().out
        assert all(f"test {name}" in " ".join(printed.split()) or name in printed for name in names)


@pytest.mark.parametrize(
    ("threshold", "says"),
    [
        (0.3, "at least their threshold. The threshold of all labels is 0.3. Accuracy"),
        ("per_label", "That of each label maximises its F1 on the validation split"),
    ],
)
def test_the_card_says_how_thresholds_were_chosen(threshold, says):
    recipe = Recipe("x", "sentiment", Data("a.csv"), SMALL, train=Train(threshold=threshold))
    metrics = {"data": {"problem_type": "multi_label_classification"}, "train": {}, "test": {"micro_f1": 0.5}}
    assert says in card(CardData(recipe, metrics, has_code=False, labels=["a"]))
