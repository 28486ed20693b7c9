"""Saved models in transformers alone: at a terminal nothing is asked or warned of, and every text is answered."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import clean_process
import pytest
from transformers import pipeline

from pipeline import inference
from pipeline import run as runs
from pipeline.config.data import Data
from pipeline.config.models import Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train

pty = pytest.importorskip("pty")

REVIEWS = [
    ("a lovely book", "good"),
    ("a tedious book", "bad"),
    ("what a lovely end", "good"),
    ("dreary to read", "bad"),
]
SENTENCE = [("Grace", "B-PER"), ("Hopper", "I-PER"), ("sailed", "O"), ("to", "O"), ("Lisbon", "B-LOC")]
POEM = ["the fog comes", "on little cat feet", "it sits looking"]
# Nothing is left of some of them in some tokenizers.
WORDLESS = ["", "   ", "\n", "\u200b", "\ufe0f", "\ufeff", "<br>", "\x00", "!?"]
SMALL = {"hidden_size": 16, "embedding_size": 16, "dropout": 0.0, "embedding_dropout": 0.0}
MODELS: dict[str, tuple[str, Any]] = {
    "reviews": ("sentiment", Recurrent(**SMALL)),
    "reviews-bytes": ("sentiment", Recurrent(**SMALL)),
    "attention": ("sentiment", Recurrent(**SMALL, bidirectional=True, pooling="attention")),
    "names": ("ner", Recurrent(**SMALL)),
    "names-crf": ("ner", Recurrent(**SMALL, crf=True)),
    "names-characters": ("ner", Recurrent(**SMALL, char_encoder="cnn")),
    "names-bert-crf": ("ner", Scratch(hidden_size=8, layers=1, heads=1, crf=True)),
    "poem": ("next_word", Recurrent(**SMALL)),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """The model folder of a short run of each of `MODELS`."""
    root = tmp_path_factory.mktemp("plain")
    rows = [{"text": f"{text} {number}", "label": label} for number in range(20) for text, label in REVIEWS]
    sources = {"sentiment": root / "reviews.jsonl", "ner": root / "names.conll", "next_word": root / "poem.txt"}
    sources["sentiment"].write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = ["".join(f"{word}\t{tag}\n" for word, tag in [*SENTENCE, (f"n{n}", "O")]) for n in range(40)]
    sources["ner"].write_text("\n".join(lines))
    sources["next_word"].write_text("\n".join(POEM * 20) + "\n")
    for name, (task, model) in MODELS.items():
        training = Train(epochs=20 if task == "ner" else 8, batch_size=8, output_dir=str(root / name))
        data = Data(str(sources[task]), max_length=16, tokenizer="bpe" if name.endswith("bytes") else None)
        runs.train(Recipe(name, task, data, model, Optim(3e-2), training))
    return {name: root / name / "model" for name in MODELS}


def at_a_terminal(code: str, folder: Path, answer: str = "") -> str:
    """What a person sees who runs `code` at a terminal, in `folder` and without this package."""
    ours, theirs = pty.openpty()
    environment = {**clean_process.environment(folder.parent / "modules"), "PYTHONWARNINGS": "default"}
    process = subprocess.Popen(
        clean_process.command(code),
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux: the other end is closed
            break
        if not part:
            break
        seen += part
        if answer and seen.count(b"[y/N]") == 1:
            os.write(ours, f"{answer}\n".encode())
            answer = ""
    os.close(ours)
    assert process.wait() == 0, seen.decode()
    return seen.decode()


@pytest.mark.slow  # seconds of imports
def test_a_tokenizer_without_code_loads_at_a_terminal_without_a_question_or_a_warning(folders):
    folder = folders["reviews"].parent.parent
    names = [name for name in MODELS if name != "names-characters"]
    seen = at_a_terminal(
        f"""
        import time
        from transformers import AutoTokenizer
        for name in {names}:
            start = time.time()
            tokenizer = AutoTokenizer.from_pretrained(name + "/model")
            assert time.time() - start < 10, "it has waited for an answer"
            assert len(tokenizer("lovely fog")["input_ids"]) > 1
            print(name, type(tokenizer).__name__)
        """,
        folder,
    )
    assert seen.split("\r\n") == [*(f"{name} TokenizersBackend" for name in names), ""]


@pytest.mark.slow
def test_the_snippet_of_the_readme_runs_at_a_terminal_without_a_question_or_a_warning(folders):
    seen = at_a_terminal(
        """
        from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
        from transformers.utils.logging import disable_progress_bar
        disable_progress_bar()
        classify = pipeline("text-classification", model="model", truncation=True, trust_remote_code=True)
        print(classify(["a lovely book", "dreary"])[0]["label"])
        model = AutoModelForSequenceClassification.from_pretrained("model", trust_remote_code=True)
        tokenizer = AutoTokenizer.from_pretrained("model")
        print(model(**tokenizer("dreary", truncation=True, return_tensors="pt")).logits.shape)
        """,
        folders["reviews"].parent,
    )
    assert seen.split("\r\n") == ["good", "torch.Size([1, 2])", ""]


@pytest.mark.slow
def test_a_tokenizer_with_code_asks_once_and_a_model_never_loads_without_its_code(folders):
    seen = at_a_terminal(
        """
        from transformers import AutoModelForTokenClassification, AutoTokenizer
        for auto, options in ((AutoTokenizer, {}), (AutoModelForTokenClassification, {"trust_remote_code": False})):
            try:
                print(type(auto.from_pretrained("model", **options)))
            except ValueError as error:
                print("refused:", "trust_remote_code=True" in str(error))
        """,
        folders["names-characters"].parent,
        answer="n",
    )
    assert seen.count("[y/N]") == 1
    assert seen.count("refused: True") == 2
    assert "<class" not in seen


@pytest.mark.parametrize("name", ["reviews", "reviews-bytes", "attention"])
def test_a_text_without_words_is_classified_as_by_predict_and_the_others_of_its_batch_too(folders, name):
    classify = pipeline("text-classification", model=str(folders[name]), trust_remote_code=True)
    for text in WORDLESS:
        for given in ([text, "a lovely book"], ["a lovely book", text], [text, text]):
            expected = list(inference.predict(str(folders[name]), given))
            for size in (1, 2):
                found = classify(given, batch_size=size)
                assert [answer["label"] for answer in found] == [answer["label"] for answer in expected]
                assert [answer["score"] for answer in found] == pytest.approx([a["score"] for a in expected], abs=1e-5)


@pytest.mark.parametrize("name", ["names", "names-crf", "names-characters", "names-bert-crf"])
def test_a_sentence_without_words_has_no_entities_and_loses_none_of_its_batch(folders, name):
    tagger = pipeline(
        "token-classification", model=str(folders[name]), aggregation_strategy="simple", trust_remote_code=True
    )
    text = "Grace Hopper sailed to Lisbon"
    (alone,) = tagger([text])
    assert [entity["entity_group"] for entity in alone] == ["PER", "LOC"]
    for nothing in ("", "   ", "\n"):
        for given in ([nothing, text], [text, nothing], [nothing, nothing]):
            for size in (1, 2):
                found = [[(e["entity_group"], int(e["start"])) for e in row] for row in tagger(given, batch_size=size)]
                assert found == [[("PER", 0), ("LOC", 23)] if part == text else [] for part in given]
    for other in WORDLESS:
        assert len(tagger([other, text], batch_size=2)) == 2


def test_the_pipeline_continues_texts_as_predict_does_and_an_empty_one_too(folders):
    write = pipeline("text-generation", model=str(folders["poem"]), trust_remote_code=True)
    for given in (["", "the fog"], ["the fog", ""], [" ", "on little"]):
        expected = inference.predict(str(folders["poem"]), [text.strip() for text in given], generate=3)
        for size in (1, 2):
            found = write(given, batch_size=size, max_new_tokens=3, do_sample=False, return_full_text=False)
            continued = [answer["generated_text"].strip() for (answer,) in found]
            if given[0] != " ":  # BPE reads a blank as a token
                assert continued == [answer["continuation"] for answer in expected]
                expected = inference.predict(str(folders["poem"]), given, generate=3)
            assert len(continued) == 2
