"""transformers' pipelines answer as `finetune predict` does, for texts of any length."""

from __future__ import annotations

import pytest

from pipeline import inference

pytestmark = pytest.mark.tools
TEXTS = ["a lovely book", "dreary to read", "", "!?", "what a tedious end " * 200]
PAIRS = [("a lovely book", "lovely"), ("dreary to read", ""), ("a tedious book " * 100, "what a lovely end " * 100)]
SENTENCES = ["Grace Hopper sailed to Lisbon", "Lisbon is far from New York", ""]
CLASSIFIERS = ["classifier", "bidirectional", "attention", "several-labels", "number", "bert"]
TAGGERS = ["tagger", "tagger-bioes", "tagger-crf", "tagger-characters", "tagger-bert-crf"]


def scores_of(answer: dict) -> dict[str, float]:
    """The score of each label of an answer of predict, or the number of a regression under `score`."""
    return answer.get("scores") or {"score": answer["score"]}


def test_text_classification_gives_the_scores_of_predict(ask, saved):
    found = ask(
        """
        result = {}
        for name in given["names"]:
            classify = transformers.pipeline(
                "text-classification", model=given["saved"][name], trust_remote_code=True, top_k=None
            )
            result[name] = classify(given["texts"], batch_size=2, truncation=True)
        """,
        names=CLASSIFIERS,
        texts=TEXTS,
    )
    for name in CLASSIFIERS:
        for answers, expected in zip(found[name], inference.predict(saved[name], TEXTS), strict=True):
            scores = {answer["label"]: answer["score"] for answer in answers}
            expected = scores_of(expected)
            if name == "number":
                assert list(scores.values()) == pytest.approx(list(expected.values()), abs=1e-4)
            else:
                assert scores == pytest.approx(expected, abs=1e-4), name


def test_pairs_of_texts_get_the_scores_of_predict(ask, saved):
    found = ask(
        """
        classify = transformers.pipeline(
            "text-classification", model=given["saved"]["pairs"], trust_remote_code=True, top_k=None
        )
        rows = [{"text": text, "text_pair": pair} for text, pair in given["pairs"]]
        result = [classify(row, truncation=True) for row in rows]
        """,
        pairs=PAIRS,
    )
    for answers, expected in zip(found, inference.predict(saved["pairs"], PAIRS), strict=True):
        scores = {answer["label"]: answer["score"] for answer in answers}
        assert scores == pytest.approx(scores_of(expected), abs=1e-4)


def test_token_classification_finds_the_entities_of_predict(ask, saved):
    found = ask(
        """
        result = {}
        for name in given["names"]:
            tag = transformers.pipeline(
                "token-classification", model=given["saved"][name], trust_remote_code=True,
                aggregation_strategy="simple",
            )
            rows = [tag(text) for text in given["texts"]]
            result[name] = [[[e["entity_group"], int(e["start"]), int(e["end"])] for e in row] for row in rows]
        """,
        names=TAGGERS,
        texts=SENTENCES,
    )
    for name in TAGGERS:
        answers = list(inference.predict(saved[name], SENTENCES))
        for text, row, answer in zip(SENTENCES, found[name], answers, strict=True):
            expected = [(e["type"], e["text"]) for e in answer["entities"]]
            assert [(label, text[start:end]) for label, start, end in row] == expected, name
    assert any(found["tagger"])


CONTINUE = """
result = {}
for name in given["names"]:
    write = transformers.pipeline("text-generation", model=given["saved"][name], trust_remote_code=True)
    options = {"max_new_tokens": 6, "do_sample": False, "return_full_text": False}
    alone = [write(text, **options)[0]["generated_text"] for text in given["texts"]]
    if write.tokenizer.pad_token is None:
        write.tokenizer.pad_token = write.tokenizer.eos_token
    batched = [rows[0]["generated_text"] for rows in write(given["texts"], batch_size=3, **options)]
    result[name] = [alone, batched]
"""
PROMPTS = ["the fog", "it sits looking over harbor", "and"]
WRITERS = ["language-model", "language-model-tied", "language-model-gpt2"]


def test_text_generation_continues_as_predict_does_alone_and_in_a_batch(ask, saved):
    found = ask(CONTINUE, names=WRITERS, texts=PROMPTS)
    for name in WRITERS:
        expected = [answer["continuation"] for answer in inference.predict(saved[name], PROMPTS, generate=6)]
        alone, batched = found[name]
        assert [text.strip() for text in alone] == [text.strip() for text in expected]
        assert batched == alone


def test_streamed_text_and_stop_strings_keep_their_blanks(ask):
    found = ask(
        """
        result = {}
        for name in given["names"]:
            write = transformers.pipeline("text-generation", model=given["saved"][name], trust_remote_code=True)
            whole = write("the fog", max_new_tokens=8, do_sample=False)[0]["generated_text"]
            inputs = write.tokenizer("the fog", return_tensors="pt")
            inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
            streamer = transformers.TextIteratorStreamer(write.tokenizer, skip_special_tokens=True)
            write.model.generate(**inputs, max_new_tokens=8, do_sample=False, streamer=streamer)
            last = whole.split()[-1]
            stopped = write(
                "the fog", max_new_tokens=8, do_sample=False, stop_strings=[last], tokenizer=write.tokenizer
            )[0]["generated_text"]
            result[name] = [whole, "".join(streamer), stopped, last]
        """,
        names=["language-model", "language-model-gpt2"],
    )
    for whole, streamed, stopped, last in found.values():
        assert whole.startswith("the fog ")
        assert streamed.strip() == whole
        assert stopped == whole[: whole.index(last, len("the fog")) + len(last)]
