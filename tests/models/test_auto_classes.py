"""Every saved folder names the classes of its family, so that each Auto class of transformers loads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import clean_process
import pytest
import torch
from contract import randomised, words
from transformers import AutoModel, BertConfig, Trainer, TrainingArguments

from pipeline.models.recurrent import (
    CrfTaggerConfig,
    CrfTaggerForTokenClassification,
    CrfTaggerModel,
    RecurrentConfig,
    RecurrentForCausalLM,
    RecurrentForSeq2SeqLM,
    RecurrentForSequenceClassification,
    RecurrentForTokenClassification,
    RecurrentModel,
    RecurrentSeq2SeqConfig,
)

HEADS = {
    "AutoModel": RecurrentModel,
    "AutoModelForCausalLM": RecurrentForCausalLM,
    "AutoModelForSequenceClassification": RecurrentForSequenceClassification,
    "AutoModelForTokenClassification": RecurrentForTokenClassification,
}
SIZES: dict[str, Any] = {"vocab_size": 50, "embedding_size": 6, "units": 5}
BERT = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8)
(ROW,) = words([4])


def a_model(auto: str) -> Any:
    return randomised(HEADS[auto](RecurrentConfig(**SIZES)))


def a_tagger(encoder: Any = BERT) -> Any:
    return randomised(CrfTaggerForTokenClassification(CrfTaggerConfig(text_config=encoder)))


def saved_map(folder: Path) -> dict[str, str]:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))["auto_map"]


def save(model: Any, folder: Path, how: str) -> None:
    if how == "save_pretrained":
        model.save_pretrained(folder)
    else:
        Trainer(model, TrainingArguments(folder / "run", use_cpu=True, report_to=[])).save_model(str(folder))


@pytest.mark.parametrize("how", ["save_pretrained", "Trainer"])
@pytest.mark.parametrize("auto", HEADS)
def test_a_saved_model_names_the_base_model_and_every_head_and_brings_their_code(auto, how, tmp_path):
    save(a_model(auto), tmp_path, how)
    places = saved_map(tmp_path)
    expected = {name: f"modeling_recurrent.{head.__name__}" for name, head in HEADS.items()}
    assert places == {"AutoConfig": "configuration_recurrent.RecurrentConfig", **expected}
    assert next(iter(places)) == auto, "accelerate estimate-memory builds the first head"
    assert all((tmp_path / f"{place.split('.')[0]}.py").is_file() for place in places.values())


def test_an_encoder_decoder_names_its_one_class_and_brings_its_code(tmp_path):
    config = RecurrentSeq2SeqConfig(**SIZES, bos_token_id=2)
    randomised(RecurrentForSeq2SeqLM(config)).save_pretrained(tmp_path)
    places = saved_map(tmp_path)
    assert list(places.items()) == [
        ("AutoModelForSeq2SeqLM", "modeling_seq2seq.RecurrentForSeq2SeqLM"),
        ("AutoConfig", "configuration_seq2seq.RecurrentSeq2SeqConfig"),
    ]
    assert all((tmp_path / f"{place.split('.')[0]}.py").is_file() for place in places.values())
    assert (tmp_path / "seq2seq_decoder.py").is_file()


def test_a_crf_tagger_names_its_encoder_as_base_model(tmp_path):
    a_tagger().save_pretrained(tmp_path)
    assert list(saved_map(tmp_path).items()) == [
        ("AutoModelForTokenClassification", "modeling_crf.CrfTaggerForTokenClassification"),
        ("AutoConfig", "configuration_crf.CrfTaggerConfig"),
        ("AutoModel", "modeling_crf.CrfTaggerModel"),
    ]


def test_a_config_that_is_saved_without_a_model_names_no_class_whose_code_is_missing(tmp_path):
    for number, config in enumerate((RecurrentConfig(), CrfTaggerConfig())):
        config.save_pretrained(tmp_path / str(number))
        assert list(saved_map(tmp_path / str(number))) == ["AutoConfig"]


def test_a_model_that_is_loaded_with_another_head_is_saved_with_that_head_first(tmp_path):
    a_model("AutoModelForCausalLM").save_pretrained(tmp_path / "first")
    RecurrentForSequenceClassification.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    places = saved_map(tmp_path / "second")
    assert next(iter(places)) == "AutoModelForSequenceClassification"
    assert places == saved_map(tmp_path / "first")


@pytest.mark.parametrize("encoder", [BERT, RecurrentConfig(**SIZES, bidirectional=True)], ids=["bert", "recurrent"])
def test_the_base_model_of_a_crf_tagger_returns_the_states_of_its_encoder(encoder, tmp_path):
    tagger = a_tagger(encoder)
    tagger.save_pretrained(tmp_path)
    loaded, found = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is CrfTaggerModel
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    states = loaded.eval()(ROW[None], attention_mask=torch.ones(1, 4), output_hidden_states=True)
    expected = tagger.model.base_model(ROW[None]).last_hidden_state
    assert torch.equal(states.last_hidden_state, expected)
    assert states.last_hidden_state.shape[-1] == loaded.config.hidden_size
    assert len(states.hidden_states) == encoder.num_hidden_layers + 1


STRANGER = """
    import json, sys
    import torch, transformers

    folder, tagger, row, again = sys.argv[1:]
    row, found = torch.tensor([json.loads(row)]), {}
    for place, name in ((folder, "AutoModel"), (folder, "AutoModelForCausalLM"),
                        (folder, "AutoModelForSequenceClassification"), (folder, "AutoModelForTokenClassification"),
                        (tagger, "AutoModel"), (tagger, "AutoModelForTokenClassification")):
        auto = getattr(transformers, name)
        model = auto.from_pretrained(place, trust_remote_code=True).eval()
        found[f"{place} {name}"] = [type(model).__name__, getattr(model, "base_model", model)(row)[0].tolist()]
        config = transformers.AutoConfig.from_pretrained(place, trust_remote_code=True)
        with torch.device("meta"):  # as accelerate estimate-memory
            assert type(auto.from_config(config, trust_remote_code=True)) is type(model)
        if "Sequence" in name:
            model.save_pretrained(again)
            loaded = transformers.AutoModelForCausalLM.from_pretrained(again, trust_remote_code=True)
            assert torch.equal(loaded.model.embed_tokens.weight, model.model.embed_tokens.weight)
    print(json.dumps(found))
"""


def test_a_language_model_and_a_crf_tagger_load_with_every_auto_class_in_a_process_without_this_package(tmp_path):
    model, tagger = a_model("AutoModelForCausalLM"), a_tagger()
    model.save_pretrained(tmp_path / "lm")
    tagger.save_pretrained(tmp_path / "tagger")
    printed = clean_process.printed_by(STRANGER, "lm", "tagger", str(ROW.tolist()), "again", folder=tmp_path)
    found = json.loads(printed.splitlines()[-1])
    expected = {
        **{f"lm {auto}": (head.__name__, model.model(ROW[None])[0]) for auto, head in HEADS.items()},
        "tagger AutoModel": ("CrfTaggerModel", tagger.model(ROW[None])[0]),
        "tagger AutoModelForTokenClassification": (
            "CrfTaggerForTokenClassification",
            tagger.model(ROW[None])[0],
        ),
    }
    assert found.keys() == expected.keys()
    for case, (name, states) in expected.items():
        assert found[case][0] == name
        torch.testing.assert_close(torch.tensor(found[case][1]), states, atol=1e-6, rtol=1e-5)
