"""The tokenizer of a saved model: plain transformers reads and writes with it what the model read in training."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import save_checkpoint
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, TextStreamer, pipeline
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from pipeline.config.data import Data
from pipeline.data.tokenization.saved_forms import saved_form
from pipeline.data.tokenization.segmentation import whole_words
from pipeline.data.tokenization.tokenizers import load_tokenizer, train
from pipeline.models.recurrent import RecurrentConfig, RecurrentForCausalLM, RecurrentForSequenceClassification

KINDS = ["whitespace", "character", "bpe", "wordpiece"]
TEXTS = ["the fog is a <unk> cat , it 's", "שלום לכם", "don't stop!! 日本 x👍🏽", "a b  c"]
BROKEN = "\N{REPLACEMENT CHARACTER}"  # in place of bytes that are no letter
SIZES = {"embedding_size": 8, "hidden_size": 8}


def recurrent(tokenizer, kind=RecurrentForCausalLM):
    torch.manual_seed(0)
    ends = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    model = kind(RecurrentConfig(vocab_size=len(tokenizer), **SIZES, **ends, initializer_range=0.9))
    return model.eval()


def gpt2(tokenizer):
    torch.manual_seed(0)
    size, end = len(tokenizer), tokenizer.eos_token_id
    shape = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 64, "initializer_range": 0.9}
    return GPT2LMHeadModel(GPT2Config(vocab_size=size, **shape, bos_token_id=end, eos_token_id=end)).eval()


MODELS = {"recurrent": recurrent, "gpt2": gpt2}


@pytest.fixture(scope="module", params=KINDS)
def plain(request):
    """A trained tokenizer as it is during a run."""
    return train(request.param, TEXTS * 2, Data("x", min_frequency=1, max_length=64))


@pytest.fixture
def saved(plain, tmp_path):
    """The same for a recurrent language model, saved and loaded."""
    saved_form(plain, recurrent(plain), continues=True, own=True).save_pretrained(tmp_path)
    return AutoTokenizer.from_pretrained(tmp_path)


def texts_of(tokens, tokenizer) -> str:
    """Each token decoded alone, special ones left out; bytes that are no letter on their own are decoded together."""
    rest = [token for token in tokens if token not in tokenizer.all_special_ids]
    parts = "".join(tokenizer.decode([token]) for token in rest)
    return tokenizer.decode(rest) if BROKEN in parts else parts


def test_a_language_model_reads_the_same_tokens_after_the_end_of_another_text(plain, saved):
    for text in [*TEXTS, "never-seen words", ""]:
        own = plain(text, add_special_tokens=False)["input_ids"]
        assert saved(text)["input_ids"] == [saved.bos_token_id, *own]
        assert saved(text, add_special_tokens=False)["input_ids"] == own
    assert saved.bos_token_id == saved.eos_token_id not in (None, saved.pad_token_id, saved.unk_token_id)
    assert saved.padding_side == "left"
    assert len(saved) == len(plain)


@pytest.mark.parametrize(("make", "limit"), [(recurrent, VERY_LARGE_INTEGER), (gpt2, 64)])
def test_only_a_model_with_positions_has_a_longest_text(plain, make, limit):
    assert saved_form(plain, make(plain), continues=True, own=True).model_max_length == limit
    assert plain.model_max_length == 64  # the window of training


def test_each_token_writes_its_own_blank(plain, saved):
    for text in ["the fog is a cat", "שלום לכם a b"]:
        ids = saved(text, add_special_tokens=False)["input_ids"]
        assert "".join(saved.decode([token]) for token in ids) == saved.decode(ids)
        assert saved.decode(ids).strip() == text
        for cut in range(len(ids)):
            assert saved.decode(ids[:cut]) + saved.decode(ids[cut:]) == saved.decode(ids)


def test_unknown_words_are_written_between_blanks():
    tokenizer = train("whitespace", TEXTS * 2, Data("x", min_frequency=1))
    saved = saved_form(tokenizer, recurrent(tokenizer), continues=True, own=True)
    assert saved.decode(saved("the never-seen fog <unk> cat")["input_ids"][1:]) == " the <unk> fog <unk> cat"


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_pipeline_writes_the_tokens_with_their_blanks_for_one_text_or_several(saved, make):
    model = make(saved)
    write = pipeline("text-generation", model=model, tokenizer=saved, max_new_tokens=12, do_sample=False)
    prompts = ["the fog", "a", "it 's a cat , the", ""]
    for size in (1, 3):
        for prompt, (answer,) in zip(prompts, write(prompts, batch_size=size), strict=True):
            inputs = saved(prompt, return_tensors="pt")
            new = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
            assert answer["generated_text"] == prompt + texts_of(new.tolist(), saved)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_batch_of_texts_is_continued_like_each_alone(saved, make):
    model, prompts = make(saved), ["the fog", "a", "it 's a cat , the"]
    batch = saved(prompts, padding=True, return_tensors="pt")
    assert batch["attention_mask"][1, 0] == 0  # on the left
    together = model.generate(**batch, max_new_tokens=8, do_sample=False)[:, batch["input_ids"].shape[1] :]
    for prompt, row in zip(prompts, together, strict=True):
        inputs = saved(prompt, return_tensors="pt")
        alone = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        assert row.tolist()[: len(alone)] == alone.tolist()


def test_generation_stops_at_a_string_of_several_tokens_in_every_script(saved):
    model = recurrent(saved)
    for seed in range(8):
        torch.manual_seed(seed)
        inputs = saved("the fog", return_tensors="pt")
        start = inputs["input_ids"].shape[1]
        free = model.generate(**inputs, max_new_tokens=12, do_sample=True)[0, start:].tolist()
        written = [saved.decode([token]) for token in free]
        stop = "".join(written[3:6])
        if BROKEN in stop or any(token in saved.all_special_ids for token in free[:6]):
            continue
        torch.manual_seed(seed)
        stopped = model.generate(**inputs, max_new_tokens=12, do_sample=True, stop_strings=[stop], tokenizer=saved)
        found = "".join(saved.decode([token]) for token in stopped[0, start:].tolist())
        assert stop in found
        assert stop not in "".join(saved.decode([token]) for token in stopped[0, start:-1].tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_generation_stops_at_a_string_of_a_vocabulary_without_latin_letters(kind):
    tokenizer = train(kind, ["שלום לכם", "הודיע היום"] * 2, Data("x", min_frequency=1))
    saved = saved_form(tokenizer, recurrent(tokenizer), continues=True, own=True)
    token = next(token for token in range(len(saved)) if "\u05d0" <= saved.decode([token]).strip() <= "\u05ea")
    model, inputs = recurrent(saved), saved("לכם", return_tensors="pt")
    with torch.no_grad():  # it writes this token only
        model.get_output_embeddings().bias.fill_(0).index_fill_(0, torch.tensor(token), 1e4)
    stop = {"stop_strings": [saved.decode([token])], "tokenizer": saved}
    for options, length in [({}, 5), (stop, 1)]:
        done = model.generate(**inputs, max_new_tokens=5, do_sample=False, **options)
        assert done[0, inputs["input_ids"].shape[1] :].tolist() == [token] * length


def test_a_streamer_writes_what_is_generated(saved, capsys):
    model, inputs = recurrent(saved), saved("the fog", return_tensors="pt")
    streamer = TextStreamer(saved, skip_prompt=True, skip_special_tokens=True)
    done = model.generate(**inputs, max_new_tokens=9, do_sample=False, streamer=streamer)
    new = done[0, inputs["input_ids"].shape[1] :].tolist()
    assert capsys.readouterr().out.rstrip("\n") == saved.decode(new, skip_special_tokens=True)


def test_going_on_from_a_saved_language_model_and_saving_again_changes_nothing(saved, tmp_path):
    saved.model_max_length = 64
    saved_form(saved, recurrent(saved), continues=True, own=False).save_pretrained(tmp_path / "again")
    again = AutoTokenizer.from_pretrained(tmp_path / "again")
    assert again.backend_tokenizer.to_str() == saved.backend_tokenizer.to_str()
    assert (again.model_max_length, again.padding_side) == (VERY_LARGE_INTEGER, "left")


def test_a_classifier_from_a_language_model_pads_as_in_training_and_keeps_the_end_token_in_front(saved, tmp_path):
    saved.model_max_length = 16
    made = saved_form(saved, recurrent(saved, RecurrentForSequenceClassification), continues=False, own=False)
    made.save_pretrained(tmp_path / "made")
    made = AutoTokenizer.from_pretrained(tmp_path / "made")
    assert (made.padding_side, made.model_max_length) == ("right", 16)
    assert made("the fog")["input_ids"][0] == saved.bos_token_id


def test_the_tokenizer_of_a_run_stays_as_it_is(plain):
    before, side = plain.backend_tokenizer.to_str(), plain.padding_side
    saved_form(copy.copy(plain), recurrent(plain), continues=True, own=True)
    assert (plain.backend_tokenizer.to_str(), plain.padding_side) == (before, side)


def test_a_pretrained_transformer_keeps_its_tokens(tmp_path):
    save_checkpoint(tmp_path / "gpt2", "bpe", TEXTS)
    tokenizer = load_tokenizer(str(tmp_path / "gpt2"))
    made = saved_form(tokenizer, gpt2(tokenizer), continues=True, own=False)
    assert made("the fog")["input_ids"] == tokenizer("the fog")["input_ids"]
    assert (made.padding_side, made.bos_token) == ("left", tokenizer.bos_token)


@pytest.mark.parametrize("kind", ["whitespace", "character"])
def test_words_of_a_script_without_blanks_are_found_in_the_vocabulary_of_a_language_model(kind):
    tokenizer = train(kind, ["สวัสดี 日本 cat"] * 2, Data("x"))
    saved = saved_form(tokenizer, recurrent(tokenizer), continues=True, own=True)
    assert whole_words(saved) - set(saved.all_special_tokens) == {
        word.strip() for word in whole_words(tokenizer) - set(tokenizer.all_special_tokens)
    }
