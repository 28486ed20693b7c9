"""A CRF on top of transformers' own taggers: saved, loaded, trained, and used without this package."""

from __future__ import annotations

import json

import clean_process
import pytest
import torch
from contract import randomised
from transformers import AutoModelForTokenClassification, BertConfig, GPT2Config, pipeline

from pipeline.config.data import Data
from pipeline.config.models import Pretrained, Recurrent, Scratch
from pipeline.data.tokenization.tokenizers import train
from pipeline.errors import UserError
from pipeline.models.build import build
from pipeline.models.recurrent import (
    CrfTaggerConfig,
    CrfTaggerForTokenClassification,
    RecurrentConfig,
    RecurrentForTokenClassification,
)
from pipeline.models.recurrent_config import special_token_ids

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
NAMES = {"id2label": dict(enumerate(LABELS)), "label2id": {label: index for index, label in enumerate(LABELS)}}
BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
CONFIGS = {
    "bert": lambda: BertConfig(vocab_size=64, **BERT, **NAMES),
    "gpt2": lambda: GPT2Config(
        vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=1, eos_token_id=1, **NAMES
    ),
}
TEXT = "Peter Blackburn of Brussels met Paul"
IDS = torch.arange(14).view(2, 7) + 5
TAGS = torch.tensor([[-100, 1, 2, 0, 3, 4, -100], [-100, 0, 0, 1, -100, -100, -100]])


def a_tagger(kind: str) -> CrfTaggerForTokenClassification:
    return randomised(CrfTaggerForTokenClassification(CrfTaggerConfig(text_config=CONFIGS[kind]())))


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saving_and_loading_keeps_the_result(kind, dtype, tmp_path):
    tagger = a_tagger(kind).to(dtype)
    tagger.save_pretrained(tmp_path)
    loaded, info = AutoModelForTokenClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is CrfTaggerForTokenClassification
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert {parameter.dtype for parameter in loaded.parameters()} == {dtype}
    assert torch.equal(loaded(IDS).logits, tagger(IDS).logits)
    assert loaded.config.id2label == loaded.model.config.id2label == NAMES["id2label"]


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_tagger_without_a_crf_is_loaded_with_an_untrained_one(kind, tmp_path):
    encoder = randomised(AutoModelForTokenClassification.from_config(CONFIGS[kind]()))
    encoder.save_pretrained(tmp_path)
    loaded, info = CrfTaggerForTokenClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert sorted(info["missing_keys"]) == ["crf.end_transitions", "crf.start_transitions", "crf.transitions"]
    assert not info["unexpected_keys"]
    assert loaded.config.id2label == NAMES["id2label"]
    assert torch.equal(loaded.eval().model(IDS).logits, encoder(IDS).logits)
    assert not any(parameter.any() for parameter in loaded.crf.parameters())


def test_adding_a_crf_to_a_tagger_does_not_copy_its_weights():
    inner = randomised(AutoModelForTokenClassification.from_config(CONFIGS["bert"]()))
    tagger = CrfTaggerForTokenClassification.around(inner, [101]).train()
    assert tagger.get_input_embeddings() is inner.get_input_embeddings()
    assert not any(parameter.is_meta for parameter in tagger.parameters())
    outputs = tagger(IDS, labels=TAGS, output_hidden_states=True)
    outputs.loss.backward()
    assert len(outputs.hidden_states) == 3
    assert inner.classifier.weight.grad.abs().sum() > 0
    assert tagger.crf.transitions.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", CONFIGS)
def test_gradient_checkpointing_and_a_larger_vocabulary_reach_the_model_inside(kind):
    gradients = []
    for checkpointing in (False, True):
        tagger = a_tagger(kind)
        tagger.resize_token_embeddings(70)
        assert tagger.config.get_text_config().vocab_size == tagger.get_input_embeddings().num_embeddings == 70
        for module in tagger.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if checkpointing:
            tagger.gradient_checkpointing_enable()
        tagger.train()(IDS, labels=TAGS).loss.backward()
        gradients.append(torch.cat([p.grad[:64].flatten() for p in tagger.parameters() if p.grad is not None]))
    torch.testing.assert_close(*gradients)


def test_padding_never_changes_a_result():
    tagger = a_tagger("bert")
    alone = tagger(IDS[:1, :4]).logits
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0]])
    torch.testing.assert_close(tagger(IDS[:1], attention_mask=mask).logits[:, :4], alone, atol=2e-6, rtol=1e-5)


def test_labels_in_evaluation_never_change_what_is_decoded_and_give_the_nll_of_each_row():
    tagger = a_tagger("bert")
    outputs = tagger(IDS, labels=TAGS)
    assert torch.equal(outputs.logits, tagger(IDS).logits)
    torch.testing.assert_close(outputs.loss, outputs.nll.sum() / (TAGS != -100).sum())


def test_a_checkpoint_with_other_labels_gets_a_new_head(tmp_path):
    a_tagger("bert").save_pretrained(tmp_path)
    names = {"id2label": {0: "O", 1: "B-X"}, "label2id": {"O": 0, "B-X": 1}}
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path, ignore_mismatched_sizes=True, **names)
    assert loaded(IDS).logits.shape == (2, 7, 2)
    assert loaded.crf.transitions.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def the_tokenizer(kind: str, characters: bool = False):
    return train(kind, [TEXT, TEXT], Data("x"), characters=characters)


def build_with(settings, kind, characters=False):
    tokenizer = the_tokenizer(kind, characters)
    model, _ = build(settings, "TokenClassification", LABELS, tokenizer, max_length=32, seed=0)
    return model, tokenizer


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_a_recipe_builds_a_crf_on_a_transformer_from_scratch(architecture):
    model, tokenizer = build_with(Scratch(architecture, hidden_size=16, crf=True), "wordpiece")
    assert isinstance(model, CrfTaggerForTokenClassification)
    special = model.config.special_token_ids
    assert tokenizer.convert_ids_to_tokens(special) == ["[PAD]", "[CLS]", "[SEP]", "[MASK]"]
    assert list(model.config.id2label.values()) == LABELS


@pytest.mark.parametrize("kind", ["bert", "crf", "recurrent"])
def test_a_recipe_builds_a_crf_on_a_checkpoint_of_any_kind(kind, tmp_path):
    tokenizer = the_tokenizer("wordpiece")
    checkpoint = {
        "bert": lambda: AutoModelForTokenClassification.from_config(CONFIGS["bert"]()),
        "crf": lambda: a_tagger("bert"),
        "recurrent": lambda: RecurrentForTokenClassification(RecurrentConfig(vocab_size=64, **NAMES)),
    }[kind]()
    checkpoint.save_pretrained(tmp_path)
    settings = Pretrained(str(tmp_path), crf=True)
    model, _ = build(settings, "TokenClassification", LABELS, tokenizer, max_length=32, seed=0)
    assert torch.equal(model.get_input_embeddings().weight, checkpoint.get_input_embeddings().weight)
    assert model.crf.transitions.shape == (5, 5)
    model.train()(IDS, labels=TAGS).loss.backward()
    assert model.crf.transitions.grad.abs().sum() > 0


def test_a_recipe_builds_characters_and_crf_with_word_vectors(tmp_path):
    (tmp_path / "vectors.txt").write_text("peter 1 2 3\nbrussels 4 5 6\n")
    settings = Recurrent(char_encoder="cnn", crf=True, bidirectional=True, vectors=str(tmp_path / "vectors.txt"))
    model, tokenizer = build_with(settings, "word", characters=True)
    assert model.config.char_vocab_size == tokenizer.char_vocab_size
    peter = tokenizer.get_vocab()["peter"]
    assert model.get_input_embeddings().weight[peter].tolist() == [1.0, 2.0, 3.0]
    assert model(**tokenizer(TEXT, return_tensors="pt")).logits.shape == (1, 6, 5)


def test_settings_that_the_model_of_the_task_cannot_have_are_refused():
    with pytest.raises(UserError, match=r"model.crf: a SequenceClassification model does not tag"):
        build(Recurrent(crf=True), "SequenceClassification", ["a", "b"], the_tokenizer("word"), 32, 0)
    with pytest.raises(UserError, match=r"model.char_encoder: the tokenizer returns no characters"):
        build_with(Recurrent(char_encoder="cnn"), "word")


STRANGER = """
    import json, sys
    from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline
    folders, texts = json.loads(sys.argv[1])

    def plain(rows):
        return [[{**token, "score": float(token["score"])} for token in row] for row in rows]

    def answer(folder):
        model = AutoModelForTokenClassification.from_pretrained(folder, trust_remote_code=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
        logits = {}
        for side in ("right", "left"):
            inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side=side)
            logits[side] = model(**inputs).logits[inputs["attention_mask"].bool()].tolist()
        tagger = pipeline("token-classification", model=folder, trust_remote_code=True, ignore_labels=[])
        return {"logits": logits, "tokens": [plain(map(tagger, texts)), plain(tagger(texts, batch_size=2))]}

    print(json.dumps([answer(folder) for folder in folders], default=int))
"""


@pytest.mark.slow  # seconds of imports, and test_matrix.py asks one such process about every kind of model
def test_a_process_without_this_package_gives_the_same_tags(tmp_path):
    """Characters and CRF: loaded by the Auto classes and by `pipeline`, one text at a time and ragged ones together."""
    texts = ["Peter met Zork of Brussels", "Paul"]
    cases = {
        "cnn": (Recurrent(char_encoder="cnn", crf=True, bidirectional=True), "word"),
        "lstm": (Recurrent(char_encoder="lstm", crf=True, bidirectional=True), "word"),
        "bert": (Scratch(hidden_size=16, crf=True), "wordpiece"),
    }
    built = {name: build_with(*case, case[0].reads_characters) for name, case in cases.items()}
    for name, (model, tokenizer) in built.items():
        randomised(model).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    printed = clean_process.printed_by(
        STRANGER, json.dumps([[str(tmp_path / name) for name in cases], texts]), folder=tmp_path
    )
    for (name, (model, tokenizer)), answer in zip(built.items(), json.loads(printed), strict=True):
        expected = [model(**tokenizer(text, return_tensors="pt")).logits[0] for text in texts]
        # Positions of a BERT are counted from the left edge, padding included.
        for side in ("right", "left") if name != "bert" else ("right",):
            torch.testing.assert_close(torch.tensor(answer["logits"][side]), torch.cat(expected), atol=2e-5, rtol=1e-4)
        words = slice(1, -1) if name == "bert" else slice(None)
        for rows in answer["tokens"]:
            for row, logits in zip(rows, expected, strict=True):
                assert [token["entity"] for token in row] == [LABELS[tag] for tag in logits.argmax(dim=-1)[words]]
                scores = logits.softmax(dim=-1).amax(dim=-1)[words].tolist()
                assert [token["score"] for token in row] == pytest.approx(scores, abs=1e-4)


def test_an_untrained_crf_learns_to_tag():
    """The loss falls to zero on two sentences, and the predicted tags are those of the data."""
    model, tokenizer = build_with(
        Recurrent(char_encoder="cnn", crf=True, bidirectional=True, dropout=0.0, embedding_dropout=0.0), "word", True
    )
    sentences = [["Peter", "Blackburn", "met", "Paul"], ["Brussels", "met"]]
    inputs = tokenizer(sentences, is_split_into_words=True, padding=True, return_tensors="pt")
    labels = torch.tensor([[1, 2, 0, 1], [3, 0, -100, -100]])
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(40):
        loss = model.train()(**inputs, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    decoded = model.eval()(**inputs).logits.argmax(dim=-1)
    assert torch.equal(decoded[labels != -100], labels[labels != -100])


def test_special_tokens_of_a_tokenizer_are_all_but_the_unknown_one():
    assert special_token_ids(the_tokenizer("word")) == [0]
    assert len(special_token_ids(the_tokenizer("wordpiece"))) == 4


def test_the_pipeline_of_transformers_groups_what_is_decoded():
    model, tokenizer = build_with(Scratch(hidden_size=16, crf=True), "wordpiece")
    tagger = pipeline("token-classification", model=randomised(model), tokenizer=tokenizer)
    for entity in tagger(TEXT, aggregation_strategy="simple"):
        assert TEXT[entity["start"] : entity["end"]].lower() == entity["word"].lower()
