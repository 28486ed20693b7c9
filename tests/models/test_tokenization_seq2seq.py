"""A tokenizer with two vocabularies: sources with one, targets with the other, also after it is saved."""

from __future__ import annotations

import copy

import pytest
from transformers import AutoTokenizer

from pipeline.config.data import Data
from pipeline.data import fingerprints
from pipeline.data.tokenization import tokenizers, translated
from pipeline.models.recurrent import RecurrentSeq2SeqTokenizer

SOURCES, TARGETS = ["the red dog", "the old house"] * 9, ["כלב אדום", "בית", "${name}"] * 9


def a_tokenizer(sources=SOURCES, kind: str = "bpe") -> RecurrentSeq2SeqTokenizer:
    sides = [
        translated.for_translation(tokenizers.train(kind, texts, Data("x", vocab_size=280)), None)
        for texts in (sources, TARGETS)
    ]
    return translated.with_two_vocabularies(*sides)


@pytest.mark.parametrize("kind", ["bpe", "whitespace", "character"])
def test_each_side_is_read_and_written_with_its_own_vocabulary(kind):
    tokenizer = a_tokenizer(kind=kind)
    both = tokenizer(["the red dog", "the old house"], text_target=["כלב אדום", "בית"], padding=True)
    options = {"skip_special_tokens": True}
    assert tokenizer.batch_decode(both["labels"], **options) == ["כלב אדום", "בית"]
    assert tokenizer.batch_decode(both["input_ids"], use_source_tokenizer=True, **options) == SOURCES[:2]
    assert tokenizer.batch_decode(both["input_ids"], **options) != SOURCES[:2]
    assert len(tokenizer) != tokenizer.source_vocab_size
    only = tokenizer(text_target="כלב אדום")["input_ids"]
    assert only == both["labels"][0][: len(only)]
    alone = tokenizer("the red dog")["input_ids"]
    assert alone == both["input_ids"][0][: len(alone)]  # targets before do not matter
    assert only[-1] == alone[-1] == tokenizer.eos_token_id
    assert translated.decode_source(alone, tokenizer, skip_special_tokens=True) == "the red dog"


def test_special_tokens_have_the_same_ids_on_both_sides():
    tokenizer = a_tokenizer()
    source = tokenizer.source_tokenizer
    assert {name: source.token_to_id(name) for name in tokenizer.all_special_tokens} == {
        name: tokenizer.convert_tokens_to_ids(name) for name in tokenizer.all_special_tokens
    }


def test_it_is_the_same_after_it_is_saved_or_copied(tmp_path):
    tokenizer = a_tokenizer()
    copy.deepcopy(tokenizer).save_pretrained(tmp_path / "a")
    again = AutoTokenizer.from_pretrained(tmp_path / "a")
    again.save_pretrained(tmp_path / "b")
    for one in (again, AutoTokenizer.from_pretrained(tmp_path / "b")):
        assert type(one) is RecurrentSeq2SeqTokenizer
        assert one(SOURCES, text_target=TARGETS[:18]) == tokenizer(SOURCES, text_target=TARGETS[:18])
    names = sorted(file.name for file in (tmp_path / "b").iterdir())
    assert names == ["source_tokenizer.json", "tokenization_seq2seq.py", "tokenizer.json", "tokenizer_config.json"]
    assert str(tmp_path) not in (tmp_path / "b/tokenizer_config.json").read_text()


def test_a_run_that_starts_from_a_saved_model_keeps_both_vocabularies(tmp_path):
    a_tokenizer().save_pretrained(tmp_path)
    tokenizer = translated.for_translation(tokenizers.load_tokenizer(str(tmp_path)), "please: ")
    assert type(tokenizer) is RecurrentSeq2SeqTokenizer
    (ids,), _ = translated.encode_sources(["the red dog"], tokenizer, 64)
    assert translated.decode_source(ids, tokenizer, skip_special_tokens=True) == "please: the red dog"


def test_a_folder_without_the_file_of_sources_says_so(tmp_path):
    a_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "source_tokenizer.json").unlink()
    with pytest.raises(
        ValueError, match=r"source_tokenizer\.json is missing, which this tokenizer needs to read source"
    ):
        AutoTokenizer.from_pretrained(tmp_path)("the")


def test_a_changed_vocabulary_of_either_side_is_found():
    one, other = (fingerprints.of_vocabulary(a_tokenizer(sources)) for sources in (SOURCES, ["a new text"] * 9))
    assert one != other
    assert one == fingerprints.of_vocabulary(a_tokenizer())
