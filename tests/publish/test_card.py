"""The model card: accepted by the Hub, with the scores of the run, and with only what applies to this model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hub_fixtures import Place
from hub_server import card_errors
from huggingface_hub import ModelCard

from pipeline import run as runs
from pipeline.config.data import Data
from pipeline.config.models import Lora, Pretrained, Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.metrics.statistics import wilson_interval
from pipeline.publish.card import card
from pipeline.publish.card_data import CardData
from pipeline.publish.redact import redacted_recipe

HEBREW = ["דוד כהן גר בתל אביב", "רות לוי נסעה אל חיפה", "הם ראו את ירושלים"]
METRICS: dict[str, Any] = {
    "test": {"loss": 0.5, "accuracy": 0.9, "per_class": {}},
    "train": {"seconds": 12.0, "tokens_per_second": 1000.0, "parameters": 1234, "updates": 10, "epochs": 2.0,
              "best_update": 8, "peak_memory_bytes": 2**30, "precision": "fp32", "processes": 1, "device": "cpu"},
    "data": {"rows": {"train": 80, "test": 200}, "fingerprint": "abc", "notes": ["3 rows of test also occur in train"],
             "encoded": {"test": {"unknown_share": 0.25}}, "scripts": {"Latin": 1.0}},
    "machine": {"python": "3.11", "libraries": {"torch": "2.13"}, "processor": "A chip", "cores": 2,
                "accelerators": []},
    "revisions": {},
}  # fmt: skip


def card_data(
    model: Any = None, task: str = "sentiment", source: str = "/home/me/reviews.csv", **more: Any
) -> CardData:
    model = model or Recurrent(cell="gru", bidirectional=task == "sentiment")
    own = {"metrics": METRICS, "has_code": True, "labels": ["bad", "good"], "repo_id": "alice/tiny", **more}
    return CardData(Recipe("tiny", task, Data(source), model), **own)


def test_a_card_is_accepted_by_the_hub(hub: Place):
    for made in (card_data(), card_data(license="mit", languages=("en", "he")), card_data(source="sample:imdb")):
        text = card(made)
        assert card_errors(text) == []
        ModelCard(text).validate()


def test_a_minimal_cell_is_written_as_in_its_paper():
    assert "(minGRU, 1 layer of 128 units)" in card(card_data(Recurrent(cell="mingru")))


def test_what_happened_to_long_texts_and_which_score_chose_the_weights_is_in_the_card():
    made = card_data(metrics={**METRICS, "train": {**METRICS["train"], "monitor": "macro_f1"}})
    data = dataclasses.replace(made.recipe.data, long_texts="windows", max_length=99)
    text = card(dataclasses.replace(made, recipe=dataclasses.replace(made.recipe, data=data)))
    assert "Texts of more than 99 tokens were read in overlapping windows whose logits are averaged." in text
    assert "| weights | from update 8, the best on validation by macro_f1 |" in text
    assert "Texts of more than 256 tokens were truncated" in card(made)


def test_scores_data_and_training_are_in_the_card_and_in_its_metadata():
    text = card(card_data())
    for line in (
        "| test | 200 | accuracy | 0.9000 |",
        "This model assigns one of these labels to a text: bad, good.",
        "It is a recurrent network (bidirectional GRU, 1 layer of 128 units), trained from scratch on `reviews.csv`.",
        "| fingerprint | `abc` |",
        "3 rows of test also occur in train.",
        "| training time | 12 seconds |",
        "| throughput | 1,000 tokens per second |",
        "| weights | from update 8, the best on validation |",
        "| hardware | A chip, 2 cores; 1 process on cpu |",
        "| versions | Python 3.11, torch 2.13 |",
        "| optim.learning_rate | `0.001` |",
        "25.0% of the tokens in the test split are not in the vocabulary.",
        "hf download alice/tiny recipe.json --local-dir .\nfinetune run recipe.json",
        "The data, `reviews.csv` with the fingerprint above, must be in the working folder.",
    ):
        assert line in text, line
    assert "/home/me" not in text
    data = ModelCard(text).data
    assert [(r.metric_type, r.metric_value, r.dataset_split) for r in data.eval_results] == [
        ("loss", 0.5, "test"),
        ("accuracy", 0.9, "test"),
    ]
    assert (data.license, data.pipeline_tag, data.base_model) == ("unknown", "text-classification", None)


def test_the_command_that_reproduces_a_run_starts_as_many_processes():
    """With one, an update would have fewer rows."""
    train = {**METRICS["train"], "processes": 2, "distributed_type": "FSDP"}
    text = card(card_data(metrics={**METRICS, "train": train}))
    assert "\ntorchrun --nproc-per-node 2 -m pipeline run recipe.json\n" in text
    assert "2 processes, model sharded by FSDP, on cpu" in text


def test_an_accuracy_has_a_confidence_interval():
    low, high = wilson_interval(0.9, 200)
    assert f"The 95% confidence interval of the test accuracy is {low:.4f} to {high:.4f} (Wilson" in card(card_data())


def test_data_and_base_model_from_the_hub_are_named_with_their_commits():
    found = {"data.source": {"name": "org/reviews", "asked": "main", "commit": "1" * 40},
             "model.checkpoint": {"name": "org/bert", "asked": None, "commit": "2" * 40}}  # fmt: skip
    made = card_data(
        Pretrained("org/bert", revision="2" * 40), source="org/reviews", metrics={**METRICS, "revisions": found},
        data_license="cc-by-4.0",
    )  # fmt: skip
    data = ModelCard(card(made)).data
    assert (data.base_model, data.datasets) == ("org/bert", ["org/reviews"])
    assert {result.dataset_revision for result in data.eval_results} == {"1" * 40}
    assert f"| revision | `{'1' * 40}` |" in card(made)
    assert "| license | cc-by-4.0 |" in card(made)
    assert "must be in the working folder" not in card(made)


def test_a_local_folder_is_not_mistaken_for_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = ModelCard(card(card_data(Pretrained("models/bert"), source="data/reviews"))).data
    assert (data.base_model, data.datasets) == (None, None)
    recipe = redacted_recipe(card_data(Pretrained("models/bert"), source="../data/reviews").recipe, METRICS)
    assert (recipe.data.source, recipe.model.checkpoint) == ("reviews", "bert")


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (
            card_data(Scratch("bert")),
            "It is a transformer (bert, 2 layers of width 128), trained from scratch on `reviews.csv`.",
        ),
        (card_data(Pretrained("sample:minilm")), "It is `sample:minilm`, fine-tuned on `reviews.csv`."),
        (card_data(Pretrained("b", lora=Lora())), "It is `b`, fine-tuned with LoRA on `reviews.csv`."),
        (
            card_data(Recurrent(crf=True), "ner", labels=["O", "B-PER", "I-PER"]),
            "finds named entities of these types: PER.",
        ),
        (card_data(Recurrent(), "next_word"), "continues a text, token by token."),
        (card_data(task="my.own:Task"), "was trained for the task `my.own:Task`."),
        (card_data(has_code=False), 'pipeline("text-classification", model="alice/tiny", truncation=True)'),
        (card_data(source="sample:hebrew_ner"), "| license | not for commercial use |"),
        (card_data(source="sample:imdb"), "language:\n- en\n"),
    ],
)
def test_a_card_describes_each_kind_of_model_and_data(made, says):
    assert says in card(made)
    assert card_errors(card(made)) == []


def test_a_card_gives_the_share_of_right_to_left_letters(tmp_path):
    rows = [f"{text} {number}\t{number % 2}\n" for number in range(20) for text in HEBREW]
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "".join(rows))
    model = Recurrent(hidden_size=4, embedding_size=4)
    train = Train(max_steps=1, output_dir=str(tmp_path / "run"))
    metrics = runs.train(Recipe("x", "sentiment", Data(str(tmp_path / "a.tsv")), model, Optim(), train))
    assert metrics["data"]["scripts"] == {"Hebrew": 1.0}
    assert metrics["data"]["right_to_left_share"] == 1.0
    text = (tmp_path / "run/model/README.md").read_text()
    assert "100% of the letters belong to scripts that are written from right to left" in text
    assert "| scripts | Hebrew 100% |" in text
    written = json.loads((tmp_path / "run/metrics.json").read_text())
    assert written["machine"]["libraries"]["torch"]
    assert Path.home().name == "root" or Path.home().name not in json.dumps(written["machine"])
