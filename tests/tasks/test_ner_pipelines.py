"""The pipelines of transformers, made as the card says and without this package, find the entities that `predict`
finds, whatever scheme a tagger has learnt, and in whatever model."""

from __future__ import annotations

import itertools
import json
import random
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import clean_process
import pytest
from conftest import save_checkpoint

from pipeline.config.data import Data
from pipeline.config.models import Lora, Pretrained, Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.data.tagging import tags as schemes
from pipeline.inference import evaluate, predict
from pipeline.publish import reference_outputs
from pipeline.publish.verify import verify_in_clean_process
from pipeline.run import train

NAMES = {"PER": ["Ann Lee", "Bob", "Eve Adams Stone", "Zoe"], "LOC": ["Rome", "New York", "Tel Aviv Port"]}
FILLERS = ["who", "went", "there", "and", "saw", "that", "it", "so", "but", "then", "said", "no"]
SMALL = {"hidden_size": 16, "embedding_size": 16, "dropout": 0.0, "embedding_dropout": 0.0}
# One cell stands for all, which test_matrix.py loads in pipelines.
MODELS: dict[str, Any] = {
    "gru": lambda crf, _: Recurrent(**SMALL, cell="gru", bidirectional=True, crf=crf),
    "bert": lambda crf, checkpoint: Pretrained(str(checkpoint), crf=crf),
    "gpt2": lambda crf, _: Scratch("gpt2", hidden_size=16, layers=1, heads=1, dropout=0.0, crf=crf),
    "pieces": lambda crf, _: Scratch("bert", hidden_size=16, layers=1, heads=1, dropout=0.0, crf=crf),
}
# Names of several words and pieces are cut most often by the smallest of vocabularies.
TOKENIZERS: dict[str, Any] = {"gpt2": {"tokenizer": "word"}, "pieces": {"tokenizer": "wordpiece", "vocab_size": 70}}
CASES = [
    f"{model}-{scheme}{'-crf' * crf}" for model, scheme, crf in itertools.product(MODELS, ("iob2", "bioes"), (0, 1))
]
PROGRAM = r"""
import json, re, sys
from transformers import pipeline
texts, folders = json.load(sys.stdin)
for folder in folders:
    card = open(folder + "/README.md").read()
    strategy = re.search(r'pipeline\("token-classification", .*aggregation_strategy="(\w+)"', card)[1]
    tagger = pipeline("token-classification", model=folder, aggregation_strategy=strategy, trust_remote_code=True)
    found = [[(e["entity_group"], int(e["start"]), int(e["end"])) for e in row] for row in tagger(texts)]
    print("FOUND" + json.dumps([found, type(tagger.model).__module__, strategy]))
"""


def sentence(generator: random.Random) -> list[tuple[str, str]]:
    """Words with IOB2 tags; two entities of a type may be neighbours, which only B- tells apart."""
    found = []
    for _ in range(3):
        kind = generator.choice([*NAMES])
        for name in generator.choices(NAMES[kind], k=generator.choice((1, 1, 2))):
            found += [(word, f"{'I' if place else 'B'}-{kind}") for place, word in enumerate(name.split())]
        found += [(generator.choice(FILLERS), "O") for _ in range(generator.randint(0, 2))]
    return found


GENERATOR = random.Random(7)
TEXTS = [" ".join(word for word, _ in sentence(GENERATOR)) for _ in range(20)]
TEXTS += [f"({text})." for text in TEXTS[:5]]


def write_conll(file: Path, seed: int, rows: int) -> None:
    generator = random.Random(seed)
    rows_of_words = [sentence(generator) for _ in range(rows)]
    file.write_text("\n".join("".join(f"{word} {tag}\n" for word, tag in words) for words in rows_of_words))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with data and a small BERT."""
    folder = tmp_path_factory.mktemp("pipelines")
    for seed, (split, rows) in enumerate({"train": 80, "validation": 10, "test": 20}.items()):
        (folder / "data").mkdir(exist_ok=True)
        write_conll(folder / f"data/{split}.conll", seed, rows)
    save_checkpoint(folder / "bert", "wordpiece", [*TEXTS, *FILLERS])
    return folder


@pytest.fixture(scope="module")
def runs(place: Path) -> dict[str, Path]:
    """A short run of each case: its tagger still makes mistakes, also such as no scheme allows."""
    for case in CASES:
        model, scheme, *crf = case.split("-")
        data = Data(str(place / "data"), max_length=48, scheme=scheme, **TOKENIZERS.get(model, {}))
        training = Train(epochs=4, batch_size=8, output_dir=str(place / case))
        rate = Optim(learning_rate=1e-3 if model == "bert" else 1e-2)
        train(Recipe(case, "ner", data, MODELS[model](bool(crf), place / "bert"), rate, training))
    return {case: place / case for case in CASES}


@pytest.fixture(scope="module")
def found(runs: dict[str, Path], place: Path) -> dict[str, Any]:
    """The entities that pipelines find, each with its type, start and end, and the module of the model's class."""
    given = json.dumps([TEXTS, [str(folder / "model") for folder in runs.values()]])
    printed = clean_process.printed_by(PROGRAM, folder=place, given=given)
    lines = [line.removeprefix("FOUND") for line in printed.splitlines() if line.startswith("FOUND")]
    return dict(zip(runs, map(json.loads, lines), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_a_pipeline_finds_the_entities_that_predict_finds(case, runs, found):
    entities, module, strategy = found[case]
    answers = predict(str(runs[case]), TEXTS)
    expected = [[[e["type"], e["start"], e["end"]] for e in answer["entities"]] for answer in answers]
    assert entities == expected
    assert sum(map(len, expected)) > len(TEXTS) // 2
    own_code = "crf" in case or case.startswith("gru")
    assert module.startswith("transformers_modules." if own_code else "transformers.")
    assert strategy == ("first" if case.startswith(("pieces", "bert")) else "simple")


@pytest.mark.parametrize("case", [case for case in CASES if "bioes" in case])
def test_a_tagger_of_bioes_names_its_labels_in_iob2_and_keeps_what_it_has_learnt(case, runs):
    config = json.loads((runs[case] / "model/config.json").read_text())
    learned = ["O", *(f"{prefix}-{kind}" for kind in ("LOC", "PER") for prefix in "BEIS")]
    assert config["learned_labels"] == learned
    assert [*config["id2label"].values()] == [
        "O",
        *(f"{prefix}-{kind}" for kind in ("LOC", "PER") for prefix in "BIIB"),
    ]
    assert config["label2id"] == {"O": 0, "B-LOC": 1, "I-LOC": 2, "B-PER": 5, "I-PER": 6}


@pytest.mark.parametrize("case", CASES)
def test_a_saved_tagger_scores_as_its_run_did(case, runs, place):
    saved = json.loads((runs[case] / "metrics.json").read_text())["test"]
    scores = evaluate(str(runs[case]), Data(str(place / "data")))
    assert {name: scores[name] for name in ("f1", "strict_f1", "per_type")} == {
        name: saved[name] for name in ("f1", "strict_f1", "per_type")
    }
    assert scores["loss"] == pytest.approx(saved["loss"], rel=1e-4)
    assert schemes.scheme_of(json.loads((runs[case] / "model/config.json").read_text())["id2label"].values()) == "iob2"


@pytest.mark.parametrize("start", ["bert-bioes", "bert-bioes-crf", "gru-bioes-crf"])
@pytest.mark.parametrize("scheme", ["bioes", "iob2"])
def test_a_training_goes_on_from_a_saved_tagger_in_either_scheme(start, scheme, runs, place, tmp_path):
    data = Data(str(place / "data"), max_length=48, scheme=scheme)
    model = Pretrained(str(runs[start] / "model"), crf=start.endswith("crf"))
    before = json.loads((runs[start] / "metrics.json").read_text())["test"]["f1"]
    training = Train(epochs=2, batch_size=8, output_dir=str(tmp_path / "more"))
    metrics = train(Recipe("more", "ner", data, model, Optim(1e-3), training))
    config = json.loads((tmp_path / "more/model/config.json").read_text())
    assert len(config["id2label"]) == len(set(config.get("learned_labels") or [])) == 9 or scheme == "iob2"
    assert scheme == "bioes" or (len(config["id2label"]), config.get("learned_labels")) == (5, None)
    assert scheme == "iob2" or metrics["test"]["f1"] > before - 0.02
    assert evaluate(str(tmp_path / "more"), Data(str(place / "data")))["f1"] == metrics["test"]["f1"]


@pytest.mark.skipif(find_spec("peft") is None, reason="adapters need peft")
def test_an_adapter_of_bioes_knows_what_it_has_learnt(place, tmp_path):
    data = Data(str(place / "data"), max_length=48, scheme="bioes")
    model = Pretrained(str(place / "bert"), lora=Lora(rank=2, merge=False))
    training = Train(epochs=4, batch_size=8, output_dir=str(tmp_path / "run"))
    metrics = train(Recipe("adapter", "ner", data, model, Optim(learning_rate=1e-2), training))
    names = json.loads((tmp_path / "run/model/labels.json").read_text())
    assert schemes.scheme_of(names.values()) == "iob2"
    scores = evaluate(str(tmp_path / "run"), Data(str(place / "data")))
    assert scores["f1"] == metrics["test"]["f1"]
    assert scores["loss"] == pytest.approx(metrics["test"]["loss"], rel=1e-4)


@pytest.mark.slow  # it loads each model in a process of its own
@pytest.mark.parametrize("case", ["gru-bioes-crf", "bert-bioes", "bert-bioes-crf"])
def test_a_tagger_of_bioes_is_verified_before_a_push(case, runs):
    folder = runs[case] / "model"
    verify_in_clean_process(folder, reference_outputs.read(runs[case]), any(folder.glob("*.py")))
