"""LoRA on recurrent weights, embeddings and tied heads: what is trained, and that merging changes no output."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import clean_process
import pytest
import torch
from conftest import NEGATIVE, POSITIVE, save_checkpoint
from torch import nn

from pipeline import inference, run
from pipeline.config.data import Data
from pipeline.config.models import Lora, ModelSettings, Pretrained, Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.errors import UserError
from pipeline.models import adapters
from pipeline.models.adapter_targets import choose_targets
from pipeline.models.recurrent import RecurrentConfig, RecurrentForSequenceClassification
from pipeline.publish import reference_outputs
from pipeline.publish.verify import verify_in_clean_process

SENTENCE = [("Ada", "B-PER"), ("Bell", "I-PER"), ("went", "O"), ("to", "O"), ("Paris", "B-LOC"), (".", "O")]
SIZES = {"hidden_size": 8, "embedding_size": 8}
# Name -> task and model of a run whose model is adapted.
BASES: dict[str, tuple[str, Recurrent]] = {
    "lstm": ("sentiment", Recurrent("lstm", **SIZES)),
    "bigru": ("sentiment", Recurrent("gru", bidirectional=True, layers=2, pooling="attention", **SIZES)),
    "rnn": ("sentiment", Recurrent("rnn", pooling="max", word_dropout=0.1, weight_dropout=0.1, **SIZES)),
    "tagger": ("ner", Recurrent("lstm", bidirectional=True, **SIZES)),
    "crf": ("ner", Recurrent("gru", bidirectional=True, char_encoder="lstm", crf=True, **SIZES)),
    "lm": ("next_word", Recurrent("lstm", **SIZES)),
    "tied": ("next_word", Recurrent("gru", tie_embeddings=True, **SIZES)),
    "projected": ("next_word", Recurrent("gru", tie_embeddings=True, hidden_size=12, embedding_size=8)),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lora")
    texts = [f"{text} {number}" for number in range(20) for text in POSITIVE + NEGATIVE]
    rows = [{"text": text, "label": "good" if text.rsplit(maxsplit=1)[0] in POSITIVE else "bad"} for text in texts]
    (folder / "sentiment.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sentences = [[*SENTENCE[start:], (f"n{number}", "O")] for number in range(20) for start in (0, 2, 4)]
    (folder / "ner.conll").write_text("\n".join("".join(f"{w}\t{t}\n" for w, t in words) for words in sentences))
    (folder / "next_word.txt").write_text("\n".join(texts) + "\n")
    save_checkpoint(folder / "gpt2", "bpe", texts)
    for name, (task, model) in BASES.items():
        trained(folder, folder / name, task, model)
    return folder


def trained(place: Path, folder: Path, task: str, model: ModelSettings, **train: Any) -> dict[str, Any]:
    """The metrics of a run of a few updates."""
    source = next(place.glob(f"{task}.*"))
    data = Data(str(source), max_length=32)
    train = {"max_steps": 3, "batch_size": 8, "output_dir": str(folder), **train}
    return run.train(Recipe("x", task, data, model, Optim(learning_rate=0.05), Train(**train)))


def adapted(place: Path, folder: Path, base: str, **lora: Any) -> dict[str, Any]:
    """The metrics of a run that trains adapters of the model of `base`."""
    task = BASES[base][0] if base in BASES else "next_word"
    checkpoint = place / base / "model" if base in BASES else place / base
    code = base in BASES
    return trained(place, folder, task, Pretrained(str(checkpoint), trust_remote_code=code, lora=Lora(**lora)))


def last_validation(folder: Path) -> float:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "validation"][-1]


EMBEDDED = ("weight_ih", "weight_hh", "embed_tokens")


@pytest.mark.parametrize(
    ("base", "targets"),
    [
        *((base, None) for base in BASES),
        *((base, EMBEDDED) for base in ("lstm", "rnn", "crf", "lm")),
        ("bigru", ("layers.1.weight_hh_l0_reverse",)),
        ("projected", ("weight_hh", "projection")),
        ("gpt2", ("c_attn", "c_proj")),
    ],
)
def test_merging_leaves_the_score_on_validation_as_it_was(place, tmp_path, base, targets):
    metrics = adapted(place, tmp_path / "run", base, rank=2, targets=targets)
    assert metrics["validation"]["loss"] == pytest.approx(last_validation(tmp_path / "run"), rel=1e-5)
    trained = metrics["train"]["trained_parameters"]
    assert trained < metrics["train"]["parameters"]


@pytest.mark.parametrize(
    ("base", "target", "shared"),
    [
        ("gpt2", "wte", "transformer.wte shares its weights with lm_head"),
        ("gpt2", "lm_head", "lm_head shares its weights with transformer.wte"),
        ("tied", "embed_tokens", "model.embed_tokens shares its weights with lm_head"),
        ("tied", "lm_head", "lm_head shares its weights with model.embed_tokens"),
        ("projected", "embed_tokens.weight", "model.embed_tokens shares its weights with lm_head"),
    ],
)
def test_an_adapter_of_a_tied_matrix_is_refused_if_it_would_be_merged(place, tmp_path, base, target, shared):
    with pytest.raises(UserError, match=f"^model.lora.targets: {shared}, and merging would change both; leave it out"):
        adapted(place, tmp_path / "run", base, targets=(target,))
    assert not (tmp_path / "run").exists()


TIED = [("gpt2", ("wte", "c_attn")), ("gpt2", ("lm_head",)), ("tied", EMBEDDED), ("projected", ("embed_tokens",))]


@pytest.mark.parametrize(("base", "targets"), TIED)
def test_a_separate_adapter_of_a_tied_matrix_predicts_as_it_was_trained(place, tmp_path, base, targets):
    metrics = adapted(place, tmp_path / "run", base, rank=2, targets=targets, merge=False)
    assert metrics["validation"]["loss"] == pytest.approx(last_validation(tmp_path / "run"), rel=1e-5)
    expected = json.loads((tmp_path / "run/answers.json").read_text())
    loaded = inference.load(str(tmp_path / "run"), trust_remote_code=base != "gpt2")
    classes = [answer["best"] for answer in expected["answers"]]
    found = reference_outputs.compute_outputs(loaded.model, loaded.tokenizer, expected["texts"], classes)
    assert reference_outputs.first_difference(expected["answers"], found) is None
    assert loaded.model.config.tie_word_embeddings is False


# A clean process imports torch and transformers anew, which takes seconds.
SLOW = [base if base == "crf" else pytest.param(base, marks=pytest.mark.slow) for base in BASES]


@pytest.mark.parametrize("base", SLOW)
def test_a_separate_adapter_gives_its_outputs_in_a_clean_process_with_peft_alone(place, tmp_path, base):
    adapted(place, tmp_path / "run", base, rank=2, merge=False)
    folder = tmp_path / "run/model"
    assert not (folder / "config.json").exists()
    verify_in_clean_process(folder, reference_outputs.read(tmp_path / "run"), any(folder.glob("*.py")), True)


def test_the_snippet_on_the_card_of_a_recurrent_adapter_runs_in_a_clean_process(place, tmp_path):
    adapted(place, tmp_path / "run", "lstm", rank=2, merge=False)
    card = (tmp_path / "run/model/README.md").read_text()
    assert "This runs the code of the base model: read it before you trust it." in card
    code = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0]
    code = code.replace("path/to/this/folder", str(tmp_path / "run/model")).replace('"model"', f'"{place}/lstm/model"')
    code += "\nprint(json.dumps(classify(sys.argv[1:], top_k=None)))"
    printed = clean_process.printed_by(code, "dull", "a joy", folder=tmp_path)
    found = [{answer["label"]: answer["score"] for answer in row} for row in json.loads(printed.splitlines()[-1])]
    expected = inference.predict(str(tmp_path / "run"), ["dull", "a joy"], trust_remote_code=True)
    assert found == [pytest.approx(answer["scores"], abs=1e-6) for answer in expected]


def a_classifier(**config: Any) -> RecurrentForSequenceClassification:
    sizes = {"vocab_size": 30, "embedding_size": 5, "num_hidden_layers": 2, "num_labels": 3, **config}
    return RecurrentForSequenceClassification(RecurrentConfig(**sizes)).eval()


def with_adapters(model: nn.Module, targets: tuple[str, ...] | None = None, **lora: Any) -> Any:
    settings = Lora(rank=2, targets=targets, **lora)
    return adapters.disturbed_copy(adapters.add_lora(model, settings, "SequenceClassification", "x"))


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "mingru", "minlstm"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_adapted_layer_computes_with_w_plus_scaled_b_a_also_after_merging(cell, bidirectional):
    plain = a_classifier(cell_type=cell, bidirectional=bidirectional).double()
    expected = a_classifier(cell_type=cell, bidirectional=bidirectional).double()
    expected.load_state_dict(plain.state_dict())
    adapted = with_adapters(plain, alpha=6.0)
    weights = dict(adapted.named_parameters())
    matrices = 0
    with torch.no_grad():
        for name, matrix in expected.named_parameters():
            layer, _, leaf = name.rpartition(".")
            for key in (key for key in weights if f"{layer}." in key and key.endswith("lora_A.default.weight")):
                wrapper = adapted.get_submodule(key.removesuffix(".lora_A.default.weight"))
                if wrapper.parameter_name == leaf:
                    matrix += 6.0 / 2 * weights[key.replace("lora_A", "lora_B")] @ weights[key]  # alpha / rank
                    matrices += 1
    # Layers; W_ih, and W_hh if the cell has one; directions.
    assert matrices == 2 * (1 if cell.startswith("min") else 2) * (1 + bidirectional)
    ids, mask = torch.randint(1, 30, (3, 6)), torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [0] * 3 + [1] * 3])
    logits = expected(ids, attention_mask=mask).logits
    assert (logits - plain(ids, attention_mask=mask).logits).abs().max() > 1e-3
    assert torch.allclose(adapted(ids, attention_mask=mask).logits, logits, rtol=0, atol=1e-12)
    assert torch.allclose(adapters.merged(adapted)(ids, attention_mask=mask).logits, logits, rtol=0, atol=1e-12)


def test_recurrent_weights_and_the_head_are_trained_by_default():
    model = a_classifier(hidden_size=4, embedding_size=5)
    adapted = adapters.add_lora(model, Lora(rank=2), "SequenceClassification", "x")
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    first, second = 2 * (5 + 16) + 2 * (4 + 16), 2 * (4 + 16) + 2 * (4 + 16)  # rank * (in + 4 gates), W_ih and W_hh
    assert trained == first + second + 4 * 3 + 3


@pytest.mark.parametrize(
    ("names", "modules", "parameters"),
    [
        (("weight_hh",), [], ["weight_hh_l0", "weight_hh_l0_reverse"]),
        (("weight_hh_l0",), [], ["weight_hh_l0"]),
        (("layers.1.weight_ih_l0",), [], ["layers.1.weight_ih_l0"]),
        (("embed_tokens", "weight_ih"), ["embed_tokens"], ["weight_ih_l0", "weight_ih_l0_reverse"]),
    ],
)
def test_a_target_is_a_module_or_a_matrix(names, modules, parameters):
    assert choose_targets(a_classifier(bidirectional=True), names) == (modules, parameters)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: with_adapters(a_classifier(), ("embed_tokens", "weight_hh", "embed_token")),
            "called embed_token; did you mean embed_tokens",
        ),
        (
            lambda: with_adapters(a_classifier(), dropout=0.1),
            "model.lora.dropout: peft adapts weight_hh_l0 as a matrix",
        ),
        (
            lambda: with_adapters(a_classifier(), merge=False),
            "model.lora.merge: the base model comes with its own code",
        ),
    ],
)
def test_what_cannot_be_adapted_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
