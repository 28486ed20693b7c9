"""Every setting, one at a time: a run is refused before it begins, with nothing written, or it finishes.

No third outcome may exist, in which a run trains and is lost at its end. So a new setting needs a row in `CASES`.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from conftest import NEGATIVE, POSITIVE, save_checkpoint
from safetensors.torch import load_file

from pipeline import inference, run
from pipeline.config.data import Data
from pipeline.config.distil import Distil
from pipeline.config.hub import Hub
from pipeline.config.models import Lora, Pretrained, Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.errors import UserError
from pipeline.publish import push
from pipeline.publish.staging import open_run
from pipeline.training import trainer

KINDS = (Data, Recurrent, Pretrained, Scratch, Lora, Optim, Train, Hub, Distil)
SECTIONS = {section.__name__: section for section in KINDS}
TEXTS = [f"{text} {number}" for number in range(10) for text in POSITIVE + NEGATIVE]
SENTENCE = [("Ada", "B-PER"), ("Bell", "I-PER"), ("went", "O"), ("to", "O"), ("Paris", "B-LOC"), (".", "O")]


class Case(NamedTuple):
    """A value of a setting, other settings that it needs, and whether the run is refused.

    `source` is a file in the workplace; names in braces are folders there.
    """

    setting: str
    value: Any
    others: dict[str, Any] = {}  # noqa: RUF012
    source: str = "sentiment.jsonl"
    refused: bool = False


TAGS, WORDS, PAIRS, MANY, TABLE = "ner.conll", "next_word.txt", "pairs.jsonl", "multi_label.jsonl", "table.csv"
TRANSLATIONS, T5 = "translation.tsv", {"Pretrained.checkpoint": "{t5}"}
RECURRENT, SEPARATE = {"Pretrained.trust_remote_code": True, "Pretrained.checkpoint": "{lstm}"}, {"Lora.merge": False}
CASES = (
    Case("Data.source", "."),
    Case("Data.source", "missing.csv", refused=True),
    Case("Data.revision", "main", refused=True),
    Case("Data.subset", "en", refused=True),
    Case("Data.streaming", True, {"Data.limit": 40}, refused=True),
    Case("Data.text_column", "text"),
    Case("Data.text_column", "texts", refused=True),
    Case("Data.label_column", "label"),
    Case("Data.token_column", "1", source=TAGS),
    Case("Data.tag_column", "2", source=TAGS),
    Case("Data.scheme", "bioes", source=TAGS),
    Case("Data.scheme", "bioes", {"Recurrent.crf": True}, TAGS),
    Case("Data.scheme", "bioes", {"Pretrained.checkpoint": "{bert}", "Pretrained.crf": True}, TAGS),
    Case("Data.limit", 40),
    Case("Data.validation_share", 0.3),
    Case("Data.test_share", 0.3),
    Case("Data.split_seed", 1),
    Case("Data.max_length", 4),
    Case("Data.separate", True, source=WORDS),
    *(Case("Data.tokenizer", name) for name in ("word", "bpe", "wordpiece", "whitespace", "character", "{gpt2}")),
    *(Case("Data.tokenizer", name, source=TAGS) for name in ("word", "bpe", "wordpiece", "whitespace", "character")),
    *(Case("Data.tokenizer", name, source=WORDS) for name in ("bpe", "wordpiece", "whitespace", "character", "{bert}")),
    Case("Data.tokenizer_revision", "main", {"Data.tokenizer": "{gpt2}"}, refused=True),
    Case("Data.vocab_size", 12),
    Case("Data.min_frequency", 9),
    Case("Data.lowercase", False),
    Case("Data.zero_digits", True),
    Case("Data.zero_digits", True, {"Recurrent.char_encoder": "cnn"}, TAGS),
    Case("Data.zero_digits", True, {"Pretrained.checkpoint": "{bert}"}, refused=True),
    Case("Data.format", "jsonl"),
    Case("Data.label_names", ("good=0", "bad=1")),
    Case("Data.separator", ",", source=TABLE),
    Case("Data.quoting", "double", source=TABLE),
    Case("Data.header", True, source=TABLE),
    Case("Data.encoding", "latin-1", source=TABLE),
    Case("Data.missing_labels", ("unknown",)),
    Case("Data.problem_type", "single_label_classification"),
    Case("Data.problem_type", "regression", refused=True),
    Case("Data.text_pair_column", "hypothesis", source=PAIRS),
    *(Case("Data.long_texts", name, {"Data.max_length": 6}) for name in ("tail", "head+tail", "windows")),
    Case("Data.overlaps", "longest", source=TAGS),
    Case("Data.target_column", "target", source=TRANSLATIONS),
    Case("Data.target_column", "target", refused=True),
    Case("Data.text_column", "target", {"Data.target_column": "source"}, TRANSLATIONS),
    Case("Data.prefix", "reverse: ", source=TRANSLATIONS),
    Case("Data.separate_vocabs", True, {"Recurrent.tie_embeddings": True}, TRANSLATIONS),
    Case("Data.separate_vocabs", True, {"Scratch.architecture": "t5"}, TRANSLATIONS, refused=True),
    Case("Data.separate_vocabs", True, refused=True),
    *(Case("Data.tokenizer", name, source=TRANSLATIONS) for name in ("bpe", "whitespace", "character", "{gpt2}")),
    Case("Data.tokenizer", "word", source=TRANSLATIONS, refused=True),
    *(Case("Recurrent.cell", cell) for cell in ("rnn", "gru", "mingru", "minlstm")),
    *(
        Case(f"Recurrent.{name}", value, {"Recurrent.cell": "mingru"})
        for name, value in (("update_bias", -2.0), ("conv_kernel", 3))
    ),
    *(Case(f"Recurrent.{name}", 3, {"Recurrent.cell": "gru"}, refused=True) for name in ("update_bias", "conv_kernel")),
    Case("Recurrent.bidirectional", True),
    Case("Recurrent.bidirectional", True, source=WORDS, refused=True),
    Case("Recurrent.bidirectional", True, source=TRANSLATIONS),
    *(Case("Recurrent.attention", name, source=TRANSLATIONS) for name in ("none", "additive")),
    Case("Recurrent.attention", "none", refused=True),
    Case("Recurrent.input_feeding", True, source=TRANSLATIONS),
    Case("Recurrent.input_feeding", True, {"Recurrent.attention": "none"}, TRANSLATIONS, refused=True),
    Case("Recurrent.decoder_layers", 2, source=TRANSLATIONS),
    Case("Recurrent.hidden_size", 5),
    Case("Recurrent.layers", 2),
    Case("Recurrent.inner_hidden_size", 5, {"Recurrent.layers": 2}),
    Case("Recurrent.inner_hidden_size", 5, refused=True),
    Case("Recurrent.embedding_size", 5),
    *(Case("Recurrent.pooling", name) for name in ("mean", "max", "attention", "concat")),
    *(Case(f"Recurrent.{name}dropout", 0.2) for name in ("", "embedding_", "word_", "unknown_", "weight_")),
    Case("Recurrent.unknown_dropout", 0.2, {"Data.tokenizer": "bpe"}, refused=True),
    Case("Recurrent.output_dropout", 0.2, source=WORDS),
    *(Case(f"Recurrent.{name}_regularization", 2.0, source=WORDS) for name in ("activation", "temporal")),
    Case("Recurrent.variational_dropout", True),
    Case("Recurrent.tie_embeddings", True, source=WORDS),
    Case("Recurrent.tie_embeddings", True, source=TRANSLATIONS),
    Case("Recurrent.tie_embeddings", True, {"Recurrent.hidden_size": 5}, WORDS),
    Case("Recurrent.adaptive_cutoffs", (8,), {"Data.tokenizer": "whitespace"}, WORDS),
    Case("Recurrent.vectors", "{vectors.txt}", {"Recurrent.embedding_size": None}),
    Case("Recurrent.freeze_vectors", True, {"Recurrent.vectors": "{vectors.txt}", "Recurrent.embedding_size": None}),
    *(Case("Recurrent.char_encoder", name, source=TAGS) for name in ("cnn", "lstm")),
    Case("Recurrent.crf", True, source=TAGS),
    *(Case("Pretrained.checkpoint", name) for name in ("{bert}", "{gpt2}", "{lstm}")),
    Case("Pretrained.checkpoint", "{gpt2}", source=WORDS),
    Case("Pretrained.revision", "main", {"Pretrained.checkpoint": "{bert}"}, refused=True),
    *(
        Case("Pretrained.trust_remote_code", True, {"Pretrained.checkpoint": f"{{{name}}}"})
        for name in ("bert", "lstm")
    ),
    Case("Pretrained.trust_remote_code", True, {"Pretrained.checkpoint": "org/name"}, refused=True),
    Case("Pretrained.allow_pickle", True, {"Pretrained.checkpoint": "{pickled}"}),
    Case("Pretrained.dropout", 0.2, {"Pretrained.checkpoint": "{bert}"}),
    Case("Pretrained.embedding_dropout", 0.2, {"Pretrained.checkpoint": "{lstm}"}),
    Case("Pretrained.embedding_dropout", 0.2, {"Pretrained.checkpoint": "{bert}"}, refused=True),
    *(Case("Pretrained.pooling", name, {"Pretrained.checkpoint": "{lstm}"}) for name in ("concat", "attention")),
    Case("Pretrained.pooling", "mean", {**RECURRENT, "Lora.rank": 2}),
    Case("Pretrained.pooling", "mean", {**RECURRENT, **SEPARATE}, refused=True),
    Case("Pretrained.freeze_layers", 1, {"Pretrained.checkpoint": "{bert}"}),
    Case("Pretrained.freeze_layers", 1, T5, TRANSLATIONS),
    Case("Pretrained.lora", Lora(rank=2), {"Pretrained.checkpoint": "{bert}", "Pretrained.crf": True}, TAGS),
    Case("Pretrained.crf", True, {"Pretrained.checkpoint": "{bert}"}, TAGS),
    *(Case("Lora.rank", 2, {"Pretrained.checkpoint": f"{{{name}}}"}) for name in ("bert", "gpt2", "lstm")),
    *(Case("Lora.merge", False, {"Pretrained.checkpoint": f"{{{name}}}"}) for name in ("bert", "gpt2")),
    *(Case("Lora.merge", False, {"Pretrained.checkpoint": f"{{{name}}}"}, TAGS) for name in ("bert", "gpt2")),
    Case("Lora.merge", False, {"Pretrained.checkpoint": "{gpt2}"}, WORDS),
    Case("Lora.merge", False, {"Pretrained.checkpoint": "{bert}"}, MANY),
    Case("Lora.merge", False, {"Pretrained.checkpoint": "{bert}"}, PAIRS),
    Case("Lora.merge", False, {"Pretrained.checkpoint": "{bert}"}, WORDS, refused=True),  # nothing says it is a decoder
    Case("Lora.merge", False, {"Pretrained.checkpoint": "{lstm}"}, refused=True),
    Case("Lora.merge", False, RECURRENT),
    Case("Lora.merge", False, {"Pretrained.checkpoint": "{pickled}", "Pretrained.allow_pickle": True}),
    *(Case("Lora.merge", merge, T5, TRANSLATIONS) for merge in (True, False)),
    Case("Lora.alpha", 3.0, {"Pretrained.checkpoint": "{bert}"}),
    Case("Lora.dropout", 0.2, {"Pretrained.checkpoint": "{bert}"}),
    Case("Lora.dropout", 0.2, RECURRENT, refused=True),
    Case("Lora.targets", ("word_embeddings", "query"), {"Pretrained.checkpoint": "{bert}"}),
    Case("Lora.targets", ("word_embeddings",), {"Pretrained.checkpoint": "{bert}", **SEPARATE}),
    Case("Lora.targets", ("wte", "c_attn"), {"Pretrained.checkpoint": "{gpt2}"}),
    Case("Lora.targets", ("wte", "c_attn"), {"Pretrained.checkpoint": "{gpt2}"}, WORDS, refused=True),
    Case("Lora.targets", ("wte", "c_attn"), {"Pretrained.checkpoint": "{gpt2}", **SEPARATE}, WORDS),
    Case("Lora.targets", ("embed_tokens", "weight_hh"), RECURRENT),
    Case("Lora.targets", ("embed_tokens", "weight_hh"), {**RECURRENT, **SEPARATE}),
    Case("Lora.targets", ("nothing",), {"Pretrained.checkpoint": "{bert}"}, refused=True),
    Case("Scratch.architecture", "gpt2"),
    Case("Scratch.architecture", "gpt2", source=TAGS),
    Case("Scratch.architecture", "bert", source=WORDS),
    *(Case("Scratch.architecture", name, source=TRANSLATIONS) for name in ("t5", "bart")),
    Case("Scratch.architecture", "bert", source=TRANSLATIONS, refused=True),
    Case("Scratch.architecture", "t5", source=WORDS, refused=True),
    Case("Scratch.hidden_size", 8),
    Case("Scratch.layers", 1),
    Case("Scratch.heads", 4),
    Case("Scratch.dropout", 0.2),
    Case("Scratch.positions", "none"),
    Case("Scratch.positions", "none", {"Scratch.architecture": "gpt2"}, WORDS),
    *(Case("Scratch.positions", "none", {"Scratch.architecture": name}, TRANSLATIONS) for name in ("t5", "bart")),
    Case("Scratch.positions", "sinusoidal", refused=True),
    Case("Scratch.crf", True, source=TAGS),
    Case("Optim.learning_rate", 1e-4),
    Case("Optim.weight_decay", 0.1),
    *(Case("Optim.schedule", name) for name in ("cosine", "one-cycle", "reduce-on-plateau")),
    Case("Optim.plateau_factor", 0.5, {"Optim.schedule": "reduce-on-plateau"}),
    Case("Optim.plateau_factor", 0.5, refused=True),
    Case("Optim.plateau_patience", 2, {"Optim.schedule": "reduce-on-plateau"}),
    Case("Optim.plateau_patience", 3, {"Optim.schedule": "reduce-on-plateau"}, refused=True),
    *(Case("Optim.average", name, source=source) for name in ("ema", "swa") for source in (MANY, TAGS, WORDS)),
    Case("Optim.average", "ema", {"Pretrained.checkpoint": "{bert}", "Lora.rank": 2}),
    Case("Optim.average", "ema", {"Pretrained.checkpoint": "{bert}", "Pretrained.freeze_layers": 1}),
    Case("Optim.average", "nt-asgd", {"Train.patience": None}),
    Case("Optim.average", "nt-asgd", refused=True),
    Case("Optim.average_decay", 0.9, {"Optim.average": "ema"}),
    Case("Optim.average_start", 0.5, {"Optim.average": "swa"}),
    Case("Optim.average_interval", 2, {"Optim.average": "nt-asgd"}),
    Case("Optim.average_interval", 2, {"Optim.average": "swa"}, refused=True),
    Case("Optim.warmup_ratio", 0.5),
    Case("Optim.layer_decay", 0.8, {"Pretrained.checkpoint": "{bert}"}),
    *(Case("Optim.gradual_unfreezing", 0.5, {"Pretrained.checkpoint": f"{{{name}}}"}) for name in ("bert", "lstm")),
    Case("Optim.gradual_unfreezing", 0.5, {"Pretrained.checkpoint": "{bert}", "Lora.rank": 2}),
    Case("Optim.max_grad_norm", None),
    Case("Train.output_dir", "elsewhere/run"),
    Case("Train.epochs", 2),
    Case("Train.max_steps", 1),
    Case("Train.max_tokens", 50, {"Train.max_steps": None}),
    Case("Train.max_tokens", 50, refused=True),
    Case("Train.max_seconds", 0.05, {"Train.max_steps": None}),
    Case("Train.batch_size", 4),
    Case("Train.accumulation", 2),
    Case("Train.auto_batch", True),
    Case("Train.seed", 1),
    Case("Train.deterministic", True),
    Case("Train.precision", "bf16"),
    Case("Train.eval_every", 1),
    Case("Train.save_every", 1),
    Case("Train.keep_checkpoints", 3),
    Case("Train.patience", None),
    *(Case("Train.monitor", name) for name in ("macro_f1", "loss", "per_class.good.f1")),
    Case("Train.monitor", "per_class.goood.f1", refused=True),
    Case("Train.class_weights", "balanced"),
    Case("Train.class_weights", {"good": 2.0}),
    Case("Train.class_weights", {"goood": 2.0}, refused=True),
    Case("Train.class_weights", "balanced", source=MANY),
    Case("Train.label_smoothing", 0.1),
    Case("Train.threshold", "per_label", source=MANY),
    Case("Train.threshold", 0.3, source=MANY),
    Case("Train.threshold", 0.3, refused=True),
    Case("Train.label_smoothing", 0.1, source=TRANSLATIONS),
    Case("Train.monitor", "bleu", source=TRANSLATIONS),
    Case("Train.beams", 2, source=TRANSLATIONS),
    Case("Train.beams", 2, refused=True),
    Case("Train.log_every", 1),
    Case("Train.trackers", ("tensorboard",)),
    Case("Train.overwrite", True),
    Case("Distil.teacher", "{base}"),
    Case("Distil.teacher", "{bert}", refused=True),  # has no head
    Case("Distil.teacher", "{base}", {"Train.class_weights": "balanced"}, refused=True),
    Case("Distil.teacher", "{base}", source=PAIRS, refused=True),
    Case("Distil.teacher", "{base}", source=MANY, refused=True),
    Case("Distil.teacher", "{base}", source=TRANSLATIONS, refused=True),
    Case("Distil.teacher", "{t5}", source=TRANSLATIONS),
    Case("Distil.revision", "main", refused=True),
    Case("Distil.trust_remote_code", True),
    Case("Distil.trust_remote_code", True, {"Distil.teacher": "org/name"}, refused=True),
    Case("Distil.allow_pickle", True),
    Case("Distil.unlabelled", "{unlabelled.txt}"),
    Case("Distil.unlabelled", "{missing.txt}", refused=True),
    Case("Distil.augment", "mask"),
    Case("Distil.augment", "mask", {"Distil.unlabelled": "{unlabelled.txt}"}, refused=True),
    Case("Distil.limit", 9, {"Distil.augment": "mask"}),
    Case("Distil.limit", 9, refused=True),
    Case("Distil.loss", "mse"),
    Case("Distil.temperature", 2.0),
    Case("Distil.temperature", 2.0, {"Distil.loss": "mse"}, refused=True),
    Case("Distil.hard_share", 0.5, {"Train.class_weights": "balanced"}),
    Case("Distil.hard_share", 0.5, {"Distil.teacher": "{t5}"}, TRANSLATIONS, refused=True),
    *(Case("Hub.push", True, {"Pretrained.checkpoint": f"{{{name}}}"}) for name in ("bert", "lstm")),
    Case("Hub.push", True, {"Pretrained.checkpoint": "{bert}", **SEPARATE}, refused=True),  # of a local base model
    *(
        Case(f"Hub.{name}", value, {"Hub.push": True})
        for name, value in (
            ("repo_id", "org/model"),
            ("private", True),
            ("revision", "next"),
            ("tag", "v1"),
            ("create_pr", True),
            ("license", "mit"),
            ("languages", ("en",)),
            ("overwrite", True),
        )
    ),
)
# In every run of the tests: what decides how a model is saved and loaded.
QUICK = ("Data.source", "Pretrained", "Lora", "Recurrent.crf", "Recurrent.tie_embeddings", "Train.threshold")
QUICK += ("Distil.teacher", "Distil.unlabelled")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("settings")
    labels = ["good" if text.rsplit(maxsplit=1)[0] in POSITIVE else "bad" for text in TEXTS]
    rows = {
        "sentiment": [{"text": text, "label": label} for text, label in zip(TEXTS, labels, strict=True)],
        "multi_label": [{"text": t, "label": [labels[n], "odd"][: 1 + n % 2]} for n, t in enumerate(TEXTS)],
        "pairs": [{"premise": t, "hypothesis": f"{t} ?", "label": b} for t, b in zip(TEXTS, labels, strict=True)],
    }
    for name, made in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    table = "".join(f'"{text}",{label}\n' for text, label in zip(TEXTS, labels, strict=True))
    (folder / "table.csv").write_text("text,label\n" + table)
    sentences = [[*SENTENCE[start:], (f"n{number}", "O")] for number in range(20) for start in (0, 2, 4)]
    (folder / "ner.conll").write_text("\n".join("".join(f"{w}\t{t}\n" for w, t in words) for words in sentences))
    (folder / "next_word.txt").write_text("\n".join(TEXTS) + "\n")
    pairs = [f"{text}\t{text} !\n" for text in TEXTS]
    (folder / "translation.tsv").write_text("source\ttarget\n" + "".join(pairs))
    (folder / "unlabelled.txt").write_text("\n".join(f"nobody knows this {text}" for text in TEXTS) + "\n")
    (folder / "vectors.txt").write_text("".join(f"{word} 0.1 0.2 -0.3\n" for word in ("dull", "funny", "and")))
    save_checkpoint(folder / "bert", "wordpiece", TEXTS)
    save_checkpoint(folder / "gpt2", "bpe", TEXTS)
    save_checkpoint(folder / "t5", "bpe", TEXTS)
    pickled(folder)
    run.train(recipe_of(Case("Optim.schedule", "constant"), folder, folder / "base"))
    (folder / "lstm").symlink_to(folder / "base/model")
    return folder


def pickled(folder: Path) -> None:
    """A copy of the BERT with its weights in a pickle."""
    copy = Path(shutil.copytree(folder / "bert", folder / "pickled"))
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()


def recipe_of(case: Case, workplace: Path, folder: Path) -> Recipe:
    """A short recipe with the settings of `case`; the model is the recurrent one unless they belong to another."""
    values: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    values["Data"] = {"source": str(workplace / case.source), "max_length": 32}
    values["Recurrent"] = {"hidden_size": 8, "embedding_size": 8}
    values["Scratch"] = {"hidden_size": 16, "layers": 1}
    values["Train"] = {"max_steps": 2, "batch_size": 8, "output_dir": str(folder)}
    for name, value in {**case.others, case.setting: case.value}.items():
        section, _, field = name.partition(".")
        place = isinstance(value, str) and value.startswith("{")
        values[section][field] = str(workplace / value.strip("{}")) if place else value
    if values["Distil"]:
        values["Distil"].setdefault("teacher", str(workplace / "base"))
        if "unlabelled" in values["Distil"]:
            values["Distil"]["unlabelled"] = Data(values["Distil"]["unlabelled"])
    if values["Lora"]:
        values["Pretrained"]["lora"] = Lora(**values["Lora"])
    kind = next((name for name in ("Pretrained", "Scratch") if any(given.startswith(name) for given in used(case))), "")
    model = SECTIONS[kind or "Recurrent"](**values[kind or "Recurrent"])
    tasks = {TAGS: "ner", WORDS: "next_word", TRANSLATIONS: "translation"}
    task = tasks.get(case.source, "sentiment")
    parts = {"data": Data(**values["Data"]), "optim": Optim(**values["Optim"]), "train": Train(**values["Train"])}
    parts["distil"] = Distil(**values["Distil"]) if values["Distil"] else None
    return Recipe(name="x", task=task, model=model, hub=Hub(**values["Hub"]), **parts)


def used(case: Case) -> list[str]:
    return [*case.others, case.setting]


def name_of(case: Case) -> str:
    others = [str(value) for name, value in case.others.items() if name == "Pretrained.checkpoint"]
    return "-".join([case.setting, str(case.value), *others, case.source.partition(".")[0]])


def marked(case: Case) -> Any:
    return pytest.param(case, id=name_of(case), marks=() if case.setting.startswith(QUICK) else pytest.mark.slow)


@pytest.mark.parametrize("case", map(marked, CASES))
def test_a_run_is_refused_before_it_begins_or_finishes(case, workplace, tmp_path, monkeypatch):
    begun, fit = [], trainer.fit
    monkeypatch.setattr(trainer, "fit", lambda *given, **more: (begun.append(1), fit(*given, **more))[1])
    if case.setting.startswith("Hub.") and case.setting != "Hub.push":  # a clean process takes seconds
        monkeypatch.setattr(push, "verify_in_clean_process", lambda *given: None)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / case.source).symlink_to(workplace / case.source)
    monkeypatch.chdir(tmp_path / "data")
    before = set(tmp_path.rglob("*"))
    if case.refused:
        with pytest.raises(UserError):
            run.train(recipe_of(case, workplace, tmp_path / "run"))
        assert not begun
        assert set(tmp_path.rglob("*")) == before
    else:
        recipe = recipe_of(case, workplace, tmp_path / "run")
        run.train(recipe)
        assert_usable(recipe, ("a dull", "mess") if case.source == PAIRS else "a dull mess")


def assert_usable(recipe: Recipe, text: Any) -> None:
    """The finished run predicts, and can be pushed unless it is an adapter of a local model."""
    options = {name: getattr(recipe.model, name, False) for name in ("trust_remote_code", "allow_pickle")}
    loaded = inference.load(str(recipe.folder), **options)
    assert list(loaded.task.predict([text], loaded.model, loaded.tokenizer, loaded.labels))
    lora = getattr(recipe.model, "lora", None)
    if lora is None or lora.merge:
        costs = open_run(str(recipe.folder)).metrics["train"]
        assert costs["updates"]
        assert min(costs["answering"].values()) > 0


def test_every_setting_has_a_case():
    fields = {f"{name}.{field.name}" for name, section in SECTIONS.items() for field in dataclasses.fields(section)}
    assert fields - {case.setting for case in CASES} == set()
    assert {name for case in CASES for name in used(case)} <= fields
