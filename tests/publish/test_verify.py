"""A model is pushed only if it gives the outputs of its run in a clean process without this package."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import NEGATIVE, POSITIVE, save_checkpoint
from hub_fixtures import Place, local_hub_only
from safetensors.torch import load_file, save_file

from pipeline import inference
from pipeline import run as runs
from pipeline.config.data import Data
from pipeline.config.hub import Hub
from pipeline.config.models import Pretrained, Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.errors import UserError
from pipeline.publish import push as pushing
from pipeline.publish import reference_outputs
from pipeline.publish.verify import verify_in_clean_process
from pipeline.tasks.sentiment import Sentiment

TEXTS = [f"{text} {number}" for number in range(10) for text in POSITIVE + NEGATIVE]
SENTENCE = [("Ada", "B-PER"), ("Bell", "I-PER"), ("went", "O"), ("to", "O"), ("Paris", "B-LOC"), (".", "O")]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("check")
    rows = [{"text": text, "label": "good" if text.rsplit(maxsplit=1)[0] in POSITIVE else "bad"} for text in TEXTS]
    (folder / "sentiment.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "next_word.txt").write_text("\n".join(TEXTS) + "\n")
    sentences = [[*SENTENCE[start:], (f"n{number}", "O")] for number in range(20) for start in (0, 2, 4)]
    (folder / "ner.conll").write_text("\n".join("".join(f"{w}\t{t}\n" for w, t in words) for words in sentences))
    return folder


def trained(workplace: Path, folder: Path, task: str, model: Any, data: str | None = None) -> Path:
    source = workplace / (data or {"ner": "ner.conll", "next_word": "next_word.txt"}.get(task, "sentiment.jsonl"))
    train = Train(max_steps=3, batch_size=8, output_dir=str(folder))
    runs.train(Recipe("tiny", task, Data(str(source), max_length=32), model, Optim(learning_rate=0.02), train))
    return folder


@pytest.fixture(scope="module")
def finished(workplace, tmp_path_factory) -> Path:
    model = Recurrent(cell="lstm", hidden_size=8, embedding_size=8)
    return trained(workplace, tmp_path_factory.mktemp("finished") / "run", "sentiment", model)


@pytest.fixture
def run(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def refusal(run: Path) -> str:
    with pytest.raises(UserError) as error:
        verify_in_clean_process(run / "model", reference_outputs.read(run), has_code=True)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_changed_weights_are_refused(run):
    file = run / "model/model.safetensors"
    weights = load_file(file)
    save_file({name: weight + 0.01 for name, weight in weights.items()}, file, metadata={"format": "pt"})
    message = refusal(run)
    assert message.startswith(
        "model: loaded in a clean process, its outputs differ from those of its run: text 1 has the logit"
    )


def test_swapped_labels_are_refused(run):
    config = json.loads((run / "model/config.json").read_text())
    names = {"id2label": {"0": "good", "1": "bad"}, "label2id": {"good": 0, "bad": 1}}
    (run / "model/config.json").write_text(json.dumps({**config, **names}))
    assert "its labels are good, bad instead of bad, good" in refusal(run)


def test_modeling_code_that_imports_this_package_is_refused(run):
    file = run / "model/modeling_recurrent.py"
    file.write_text(f"import pipeline\n{file.read_text().replace('from __future__ import annotations', '')}")
    message = refusal(run)
    assert message.startswith("model: it does not load in a clean process without this package: ")
    assert "pipeline" in message


def test_outputs_differ_in_tokens_or_logits_also_by_nan_but_not_by_rounding():
    one = [{"ids": [1, 2], "best": [0, 1], "logits": [1.0, 2.0], "top": [1.0, 2.0]}]
    assert reference_outputs.first_difference(one, [{**one[0], "logits": [1.0005, 2.0], "best": [1, 1]}]) is None
    assert reference_outputs.first_difference(one, [{**one[0], "ids": [1, 3]}]) == "text 1 has different tokens"
    assert "has the logit 2.1 instead of 2" in str(
        reference_outputs.first_difference(one, [{**one[0], "top": [1.0, 2.1]}])
    )
    assert "has the logit nan" in str(
        reference_outputs.first_difference(one, [{**one[0], "logits": [1.0, float("nan")]}])
    )


class OwnTask(Sentiment):
    """Somebody's own task."""

    name = "moods"


KINDS: dict[str, tuple[str, Any]] = {
    "ner crf with characters": ("ner", Recurrent(bidirectional=True, hidden_size=8, char_encoder="cnn", crf=True)),
    "ner bert from scratch": ("ner", Scratch("bert", hidden_size=16, layers=1)),
    "next word lstm": ("next_word", Recurrent(hidden_size=8, embedding_size=8, tie_embeddings=True)),
    "next word gpt2": ("next_word", Pretrained("gpt2")),
    "a task of one's own": (f"{__name__}:OwnTask", Recurrent(hidden_size=8)),
}


@pytest.mark.slow  # a clean process for each
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_predicts_from_the_hub_as_from_its_folder(hub: Place, workplace, tmp_path, kind):
    task, model = KINDS[kind]
    if isinstance(model, Pretrained):
        save_checkpoint(workplace / "gpt2", "bpe", TEXTS)
        model = Pretrained(str(workplace / "gpt2"))
    run = trained(workplace, tmp_path / "run", task, model)
    name = hub.name()
    pushing.push(str(run), Hub(push=True, repo_id=name, license="apache-2.0", languages=("en",)))
    texts = ["Ada went to Paris", "a dull film"]
    assert list(inference.predict(name, texts)) == list(inference.predict(str(run), texts))


@local_hub_only
def test_a_model_that_fails_verification_is_not_pushed(hub: Place, run):
    (run / "model/modeling_recurrent.py").unlink()
    with pytest.raises(UserError, match="does not load in a clean process"):
        pushing.push(str(run), Hub(push=True, repo_id="alice/tiny"))
    assert hub.server.calls("POST .*") == []
