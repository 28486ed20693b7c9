"""Two texts in one row, as each kind of model reads them, also after the tokenizer is saved and loaded."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from pipeline.config.data import Data
from pipeline.data.tokenization import tokenizers
from pipeline.data.tokenization.text_pairs import for_pairs

TEXTS = ["a moving , funny film", "boring and far too long"] * 3
# (tokenizer, how) -> tokens of a pair, types of the tokens, tokens of a single text
EXPECTED = {
    ("word", "apart"): ("a film boring", "001", "a film"),
    ("word", "joined"): ("a film [SEP] boring", "", "a film"),
    ("word", "typed"): ("a film [SEP] boring", "0001", "a film"),
    ("bpe", "apart"): ("a Ġfilm boring", "001", "a Ġfilm"),
    ("bpe", "joined"): ("a Ġfilm [EOS] boring", "", "a Ġfilm"),
    ("whitespace", "joined"): ("a film <eos> boring", "", "a film"),
    ("wordpiece", "apart"): ("a film boring", "001", "a film"),
    ("wordpiece", "joined"): ("[CLS] a film [SEP] boring [SEP]", "", "[CLS] a film [SEP]"),
    ("wordpiece", "typed"): ("[CLS] a film [SEP] boring [SEP]", "000011", "[CLS] a film [SEP]"),
    ("sample:gpt2", None): ("a Ġfilm <|endoftext|> bor ing", "", "a Ġfilm"),
    ("sample:gpt2", "apart"): ("a Ġfilm bor ing", "0011", "a Ġfilm"),
    ("sample:minilm", None): ("[CLS] a film [SEP] boring [SEP]", "000011", "[CLS] a film [SEP]"),
    ("sample:minilm", "apart"): ("a film boring", "001", "a film"),
}


@pytest.mark.parametrize(("kind", "how"), EXPECTED, ids=str)
def test_a_saved_tokenizer_writes_pairs_as_the_model_reads_them(kind, how, tmp_path):
    tokens, types, alone = EXPECTED[kind, how]
    if kind.startswith("sample:"):
        tokenizer = tokenizers.load_tokenizer(kind)
    else:
        tokenizer = tokenizers.train(kind, TEXTS, Data("x", max_length=64))
    for_pairs(tokenizer, how).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    encoded = loaded("a film", "boring")
    assert " ".join(loaded.convert_ids_to_tokens(encoded["input_ids"])) == tokens
    assert "".join(map(str, encoded.get("token_type_ids", []))) == types
    assert " ".join(loaded.convert_ids_to_tokens(loaded("a film")["input_ids"])) == alone


def test_unknown_words_do_not_pass_for_a_separator(tmp_path):
    """Both texts that are tried are unknown words, which are special tokens, too."""
    tokenizer = for_pairs(tokenizers.train("word", ["x y z"] * 2, Data("x")), "joined")
    assert tokenizer.convert_ids_to_tokens(tokenizer("x", "y")["input_ids"]) == ["x", "[SEP]", "y"]
    own = for_pairs(tokenizers.train("wordpiece", ["x y z"] * 2, Data("x")), None)
    assert own.convert_ids_to_tokens(own("q", "w")["input_ids"]) == ["[CLS]", "[UNK]", "[SEP]", "[UNK]", "[SEP]"]


@pytest.mark.parametrize("how", ["apart", "joined"])
def test_the_longer_text_is_truncated_first(how):
    tokenizer = for_pairs(tokenizers.train("word", TEXTS, Data("x")), how)
    encoded = tokenizer(["film " * 9], ["boring long"], truncation=True, max_length=6)
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"][0])
    assert tokens[-2:] == ["boring", "long"]
    assert len(tokens) == 6
    assert encoded.encodings[0].overflowing
