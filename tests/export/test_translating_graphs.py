"""The graphs of encoder-decoders compute what their models do, and translator.py searches as `generate` does."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from sessions import session
from transformers import GenerationConfig, PreTrainedModel

from pipeline.config.schema import LARGEST_PENALTY
from pipeline.errors import UserError
from pipeline.export import search_settings, transformer_seq2seq, translator
from pipeline.export.recurrent.build import build_encoder_decoder
from pipeline.export.translator import Translator
from pipeline.models.exported_seq2seq import DecoderState, ExportedSeq2SeqLM
from pipeline.models.recurrent import RecurrentForSeq2SeqLM, RecurrentSeq2SeqConfig
from pipeline.tasks import translating

WORDS, PAD, START, END = 40, 0, 1, 2
Graphs = tuple[onnx.ModelProto, onnx.ModelProto]


def recurrent(cell: str, attention: str, input_feeding: bool = False, **settings: Any) -> RecurrentForSeq2SeqLM:
    torch.manual_seed(0)
    ids = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}
    config = RecurrentSeq2SeqConfig(
        vocab_size=WORDS,
        embedding_size=12,
        units=16,
        cell_type=cell,
        attention_type=attention,
        input_feeding=input_feeding,
        **settings,
        **ids,
    )
    model = RecurrentForSeq2SeqLM(config).eval()
    for weight in model.parameters():
        weight.data *= 1.5  # so that some words are far more likely than others; much larger ones make rounding grow
    return model


def sources(lengths: list[int], side: str = "right") -> dict[str, torch.Tensor]:
    """Texts of random words, padded on one side."""
    time, generator = max(lengths), torch.Generator().manual_seed(1)
    ids = torch.randint(3, WORDS, (len(lengths), time), generator=generator)
    places = torch.arange(time)
    before = torch.tensor(lengths)[:, None]
    mask = places < before if side == "right" else places >= time - before
    return {"input_ids": ids.masked_fill(~mask, PAD), "attention_mask": mask.long()}


def exported(model: PreTrainedModel, graphs: Graphs, folder: Path) -> ExportedSeq2SeqLM:
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    (folder / "export.json").write_text('{"task": "translation"}')
    for name, graph in zip(("encoder.onnx", "decoder.onnx"), graphs, strict=True):
        onnx.save(graph, folder / name)
    return ExportedSeq2SeqLM(folder, threads=1)


@torch.no_grad()
def check(model: PreTrainedModel, found: ExportedSeq2SeqLM) -> None:
    """The logits and weights of `model`, for several texts or one, read at once and in two or more pieces."""
    batches = [sources([7, 1, 4]), sources([3, 6], "left"), sources([1])]
    for inputs in batches:
        for size in (1, 5):
            ids = torch.randint(3, WORDS, (len(inputs["input_ids"]), size), generator=torch.Generator().manual_seed(2))
            expected = model(**inputs, decoder_input_ids=ids, output_attentions=True)
            state, encoded = DecoderState(), found.encoder(**inputs)
            given = {"encoder_outputs": encoded, "past_key_values": state}
            pieces = [found(decoder_input_ids=own, **given) for own in ids.split(max(1, size - 2), dim=1)]
            logits = torch.cat([piece.logits for piece in pieces], dim=1)
            assert state.get_seq_length() == size
            assert (logits - expected.logits).abs().max() < 1e-5
            at_once = found(**inputs, decoder_input_ids=ids)
            assert (at_once.logits - expected.logits).abs().max() < 1e-5
            assert (at_once.cross_attentions is None) == (expected.cross_attentions is None)
            if expected.cross_attentions:
                weights = expected.cross_attentions[-1].mean(dim=1, keepdim=True)
                assert (at_once.cross_attentions[0] - weights).abs().max() < 1e-5


KINDS: list[tuple[Any, ...]] = [
    ("lstm", "multiplicative", False, {"bidirectional": True, "num_hidden_layers": 2}),
    ("lstm", "additive", True, {"bidirectional": True, "tie_word_embeddings": True}),
    ("gru", "multiplicative", True, {"bidirectional": False, "decoder_layers": 2}),
    ("gru", "none", False, {"bidirectional": True}),
    ("rnn", "none", False, {"bidirectional": False, "tie_word_embeddings": True}),
    ("mingru", "multiplicative", False, {"bidirectional": True, "conv_kernel": 3}),
    ("minlstm", "additive", True, {"bidirectional": True, "decoder_layers": 2, "conv_kernel": 2}),
]


@pytest.mark.parametrize(("cell", "attention", "feeding", "settings"), KINDS)
def test_recurrent_graphs_return_the_logits_and_weights_of_the_model(cell, attention, feeding, settings, tmp_path):
    model = recurrent(cell, attention, feeding, **settings)
    check(model, exported(model, build_encoder_decoder(model), tmp_path))


def test_source_and_target_may_have_vocabularies_of_their_own(tmp_path):
    model = recurrent("lstm", "multiplicative", source_vocab_size=WORDS + 5)
    check(model, exported(model, build_encoder_decoder(model), tmp_path))


@pytest.fixture(scope="module")
def searched() -> tuple[RecurrentForSeq2SeqLM, Graphs]:
    model = recurrent("gru", "additive", True)
    model.lm_head.weight.data *= 3
    model.lm_head.bias.data[END] = 0.5  # so that translations have several lengths
    return model, build_encoder_decoder(model)


SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy-forced": {"forced_bos_token_id": 5, "forced_eos_token_id": END, "bad_words_ids": [[7], [9]]},
    "beams": {"num_beams": 4},
    "short": {"num_beams": 3, "length_penalty": -1.0},
    "long": {"num_beams": 5, "length_penalty": 2.0, "early_stopping": "never"},
    "early": {"num_beams": 4, "early_stopping": True, "no_repeat_ngram_size": 2},
    "forced": {"num_beams": 3, "forced_bos_token_id": 5, "forced_eos_token_id": END, "min_new_tokens": 4},
    "two-ends": {"num_beams": 2, "eos_token_id": [END, 11], "suppress_tokens": [4, 6], "renormalize_logits": True},
    "max-length": {"num_beams": 2, "max_new_tokens": None, "max_length": 6, "min_length": 3, "no_repeat_ngram_size": 1},
}


def up_to_end(ids: list[int], ends: list[int]) -> list[int]:
    places = [place for place, token in enumerate(ids) if token in ends]
    return ids[: places[0] + 1] if places else ids


@pytest.mark.parametrize("name", SEARCHES)
def test_it_writes_the_tokens_and_scores_of_generate_in_batches_and_alone(searched, name):
    model, graphs = searched
    ids = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END, "decoder_start_token_id": START}
    config = GenerationConfig(**{**ids, "max_new_tokens": 12, **SEARCHES[name]})
    generation = search_settings.settings(config, model.config)
    settings = {"generation": generation, "tokens": {"pad": PAD}}
    translator = Translator(settings, NoTokenizer(), *map(session, graphs))
    inputs = sources([9, 2, 5, 7, 1, 12])
    rows = [own[mask > 0].tolist() for own, mask in zip(*inputs.values(), strict=True)]
    beams = generation["num_beams"]
    options = {"return_dict_in_generate": True, "output_scores": True, "num_return_sequences": beams}
    expected = model.generate(**inputs, generation_config=config, **options)
    together, alone = translator.search(rows), [translator.search([row])[0] for row in rows]
    assert len({*map(tuple, expected.sequences.tolist())}) > 2
    trimmed = [up_to_end(own, generation["ends"]) for own in expected.sequences.tolist()]
    for number in range(len(rows)):
        wanted = trimmed[number * beams : (number + 1) * beams]
        for written, scores in (together[number], alone[number]):
            assert [up_to_end(own, generation["ends"]) for own in written] == wanted
            if beams > 1:
                own = expected.sequences_scores[number * beams : (number + 1) * beams]
                assert scores == pytest.approx(own.tolist(), rel=1e-5, abs=1e-5)


def test_without_a_limit_it_writes_as_many_tokens_as_predict(searched):
    model, graphs = searched
    unlimited = {"max_length": None, "max_new_tokens": None, "suppress_tokens": [END]}
    ids = {"pad_token_id": PAD, "eos_token_id": END, "decoder_start_token_id": START}
    model = copy.deepcopy(model)
    model.generation_config = GenerationConfig(**ids, **unlimited)
    expected = translating.search(model, sources([3])).sequences.tolist()
    generation = search_settings.settings(model.generation_config, model.config)
    translator = Translator({"generation": generation, "tokens": {"pad": PAD}}, NoTokenizer(), *map(session, graphs))
    ((written, _),) = translator.search(sources([3])["input_ids"].tolist())
    assert written == expected
    assert len(written[0]) == translating.MOST_TOKENS + 1


@pytest.mark.parametrize("penalty", [float("nan"), float("inf"), -11, 1000])
def test_a_length_penalty_with_which_scores_overflow_is_refused(searched, penalty):
    model, graphs = searched
    settings = {"generation": search_settings.settings(GenerationConfig(decoder_start_token_id=START), model.config)}
    refused = f"^length-penalty: {penalty} is out of range; it must be from -10.0 to 10.0$"
    with pytest.raises(ValueError, match=refused):
        Translator(settings, NoTokenizer(), *map(session, graphs))(["a"], beams=2, length_penalty=penalty)


def test_predict_refuses_the_same_length_penalties_as_the_runner():
    assert LARGEST_PENALTY == translator.LARGEST_PENALTY


class NoTokenizer:
    def no_padding(self) -> None: ...

    def no_truncation(self) -> None: ...


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"repetition_penalty": 1.2}, "runner.py does not know repetition_penalty in generation_config.json"),
        ({"sequence_bias": [[[3], 1.0]]}, "runner.py does not know sequence_bias in generation_config.json"),
        ({"bad_words_ids": [[3, 4]]}, "runner.py bans single tokens only"),
        ({"forced_eos_token_id": [2, 3]}, "runner.py forces one end token only"),
        ({"decoder_start_token_id": None}, "generation_config.json has no decoder_start_token_id"),
    ],
)
def test_a_search_that_the_runner_cannot_do_is_refused(settings, message):
    config = GenerationConfig(**{"decoder_start_token_id": START, "eos_token_id": END, **settings})
    with pytest.raises(UserError, match=message):
        search_settings.settings(config, recurrent("gru", "none").config)


def transformer(kind: str) -> PreTrainedModel:
    from transformers import (
        BartConfig,
        BartForConditionalGeneration,
        MarianConfig,
        MarianMTModel,
        MBartConfig,
        MBartForConditionalGeneration,
        T5Config,
        T5ForConditionalGeneration,
    )

    torch.manual_seed(0)
    ids = {"vocab_size": WORDS, "pad_token_id": PAD, "eos_token_id": END, "decoder_start_token_id": START}
    sizes: dict[str, Any] = {
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "max_position_embeddings": 64,
    }
    t5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    made: PreTrainedModel = {
        "t5": lambda: T5ForConditionalGeneration(T5Config(**ids, **t5)),
        "bart": lambda: BartForConditionalGeneration(BartConfig(**ids, **sizes)),
        "marian": lambda: MarianMTModel(MarianConfig(**ids, **sizes)),
        "mbart": lambda: MBartForConditionalGeneration(MBartConfig(**ids, **sizes)),
    }[kind]()
    return made.eval()


@pytest.mark.slow  # torch records two graphs in ten seconds
@pytest.mark.parametrize("kind", ["t5", "bart", "marian", "mbart"])
def test_the_graphs_of_transformers_return_the_logits_and_weights_of_the_model(kind, tmp_path):
    model = transformer(kind)
    found = exported(model, transformer_seq2seq.build(model, 18), tmp_path)
    check(model, found)
    labels = torch.tensor([[5, 6, 7, END], [8, END, -100, -100]])
    inputs = sources([4, 3])
    assert (found(**inputs, labels=labels).logits - model(**inputs, labels=labels).logits).abs().max() < 1e-5
