"""Models that translate, as recipes build them: from scratch and from checkpoints, with adapters and frozen layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from pipeline.config.data import Data
from pipeline.config.models import Lora, Pretrained, Recurrent, Scratch
from pipeline.data.tokenization.tokenizers import train
from pipeline.errors import UserError
from pipeline.models import adapters
from pipeline.models.build import build
from pipeline.models.transformers_from_scratch import POSITION_EMBEDDINGS

SIZES: dict[str, Any] = {"d_model": 16, "pad_token_id": 0, "eos_token_id": 1}
FED = Recurrent("gru", bidirectional=True, hidden_size=8, attention="additive", input_feeding=True, decoder_layers=2)
SCRATCH = {
    "lstm": Recurrent("lstm", hidden_size=8, embedding_size=6, tie_embeddings=True),
    "fed": FED,
    "alone": Recurrent("rnn", bidirectional=True, hidden_size=8, attention="none"),
    "t5": Scratch("t5", hidden_size=16, layers=3),
    "bart": Scratch("bart", hidden_size=16, layers=3),
}
ROW = torch.tensor([[5, 6, 7, 1]])


@pytest.fixture(scope="module")
def tokenizer():
    return train("bpe", ["the file was not found", "no such file"] * 2, Data("x"))


@pytest.fixture(scope="module")
def place(tmp_path_factory, tokenizer) -> Path:
    """Small checkpoints, each in a folder named after its architecture."""
    folder = tmp_path_factory.mktemp("checkpoints")
    size, stacks = len(tokenizer), {"encoder_layers": 2, "decoder_layers": 2}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    t5 = T5Config(vocab_size=size, d_kv=8, d_ff=16, num_layers=2, num_heads=2, decoder_start_token_id=0, **SIZES)
    marian = MarianConfig(
        vocab_size=size, decoder_start_token_id=0, max_position_embeddings=40, **SIZES, **stacks, **heads
    )
    mbart = MBartConfig(vocab_size=size, decoder_start_token_id=1, **SIZES, **stacks, **heads)
    torch.manual_seed(0)
    for name, model in {
        "t5": T5ForConditionalGeneration(t5),
        "marian": MarianMTModel(marian),
        "mbart": MBartForConditionalGeneration(mbart),
        "fed": build(FED, "Seq2SeqLM", [], tokenizer, 32, 0)[0],
    }.items():
        if name == "mbart":
            model.generation_config.forced_bos_token_id = 4
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


@pytest.fixture
def built(tokenizer):
    return lambda settings: build(settings, "Seq2SeqLM", [], tokenizer, 32, 1)[0]


@pytest.mark.parametrize("name", SCRATCH)
def test_a_model_from_scratch_starts_and_ends_texts_with_the_tokens_of_its_tokenizer(name, built, tokenizer):
    model = built(SCRATCH[name])
    start = tokenizer.pad_token_id if name == "t5" else tokenizer.eos_token_id
    for config in (model.config, model.generation_config):
        assert (config.decoder_start_token_id, config.eos_token_id) == (start, tokenizer.eos_token_id)
        assert config.pad_token_id == tokenizer.pad_token_id
    assert model.config.is_encoder_decoder
    assert model(input_ids=ROW, labels=ROW).loss.isfinite()
    written = model.generate(ROW, max_new_tokens=5, suppress_tokens=[tokenizer.eos_token_id])[0]
    assert len(written) == 6  # a text that is cut off has no end of its own
    assert tokenizer.eos_token_id not in written[1:]


def test_the_settings_of_a_recurrent_model_reach_its_configuration(built):
    config = built(FED).config
    assert (config.cell_type, config.units, config.bidirectional) == ("gru", 8, True)
    assert (config.num_hidden_layers, config.decoder_layers) == (1, 2)
    assert (config.attention_type, config.input_feeding) == ("additive", True)
    config = built(SCRATCH["lstm"]).config
    assert (config.bidirectional, config.decoder_layers, config.attention_type) == (False, 1, "multiplicative")
    assert config.tie_word_embeddings
    assert (config.hidden_dropout, config.embedding_dropout, config.output_dropout) == (0.3, 0.3, 0.3)


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_position_embeddings_of_both_stacks_can_be_silenced(name, built):
    model = built(Scratch(name, hidden_size=16, positions="none"))
    for place in POSITION_EMBEDDINGS[name]:
        weight = model.base_model.get_submodule(place).weight
        assert not weight.any()
        assert not weight.requires_grad
    assert len(POSITION_EMBEDDINGS[name]) == 2


@pytest.mark.parametrize(("name", "start", "forced"), [("t5", 0, None), ("marian", 0, None), ("mbart", 1, 4)])
def test_a_checkpoint_keeps_its_own_way_to_start_a_text(name, start, forced, place, built):
    model = built(Pretrained(str(place / name)))
    assert model.generation_config.decoder_start_token_id == start
    assert model.generate(ROW, max_new_tokens=2)[0, 0] == start
    assert model.generation_config.forced_bos_token_id == forced


@pytest.mark.parametrize("name", ["t5", "marian", "mbart", "fed"])
def test_frozen_layers_are_the_embeddings_and_the_lowest_of_the_encoder(name, place, built):
    model = built(Pretrained(str(place / name), freeze_layers=1))
    frozen = [part for part, parameter in model.named_parameters() if not parameter.requires_grad]
    assert any("shared" in part for part in frozen)
    assert not [part for part in frozen if "decoder.layers" in part or "decoder.block" in part]
    stacked = [part for part in frozen if "encoder.layers" in part or "encoder.block" in part]
    assert {next(number for number in part.split(".") if number.isdecimal()) for part in stacked} == {"0"}


@pytest.mark.parametrize("name", ["t5", "marian", "mbart", "fed"])
def test_adapters_change_what_is_written_and_merging_them_changes_nothing_more(name, place, built):
    pytest.importorskip("peft")
    base = built(Pretrained(str(place / name))).eval()
    adapted = built(Pretrained(str(place / name), lora=Lora(rank=2))).eval()
    torch.testing.assert_close(adapted(input_ids=ROW, labels=ROW).logits, base(input_ids=ROW, labels=ROW).logits)
    changed = adapters.disturbed_copy(adapted)
    logits, written = changed(input_ids=ROW, labels=ROW).logits, changed.generate(input_ids=ROW, max_new_tokens=6)
    assert not torch.allclose(logits, base(input_ids=ROW, labels=ROW).logits)
    merged = adapters.merged(changed)
    assert type(merged) is type(base)
    torch.testing.assert_close(merged(input_ids=ROW, labels=ROW).logits, logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(merged.generate(input_ids=ROW, max_new_tokens=6), written)


def test_an_adapter_names_its_task_as_peft_does(place, built):
    pytest.importorskip("peft")
    adapted = built(Pretrained(str(place / "t5"), lora=Lora(rank=2, merge=False)))
    assert adapted.peft_config["default"].task_type == "SEQ_2_SEQ_LM"


@pytest.mark.parametrize("name", ["t5", "fed"])
def test_a_checkpoint_without_some_of_its_weights_is_refused(name, place, built, tmp_path):
    for file in (place / name).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    kept = {key: value for key, value in tensors.items() if not key.startswith("decoder.")}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"is missing .* of the weights of a .*, such as decoder"):
        built(Pretrained(str(tmp_path)))


def test_a_text_that_is_longer_than_the_positions_of_a_checkpoint_is_refused(place, tokenizer):
    with pytest.raises(UserError, match=r"data.max_length: 41 is more than the 40 positions of the model"):
        build(Pretrained(str(place / "marian")), "Seq2SeqLM", [], tokenizer, 41, 1)
