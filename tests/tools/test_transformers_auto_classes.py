"""Every Auto class of transformers loads every saved folder that has what it needs."""

from __future__ import annotations

import pytest
from tools.saved_models import MODELS

pytestmark = pytest.mark.tools
RECURRENT = [name for name in MODELS if "bert" not in name and "gpt2" not in name]
ONE_WAY = [name for name in RECURRENT if MODELS[name][2].char_encoder is None and not MODELS[name][2].bidirectional]

LOAD = """
result = {}
for name in given["names"]:
    try:
        model = getattr(transformers, given["auto"]).from_pretrained(given["saved"][name], trust_remote_code=True)
        result[name] = type(model).__name__
    except ValueError as error:
        result[name] = str(error)
"""


CONFIGS = dict.fromkeys(RECURRENT, "RecurrentConfig") | {"tagger-bert-crf": "CrfTaggerConfig"}
BODIES = dict.fromkeys(RECURRENT, "RecurrentModel") | {"tagger-bert-crf": "CrfTaggerModel"}
CLASSIFIERS = dict.fromkeys(RECURRENT, "RecurrentForSequenceClassification")
# The classifier of pairs is wider than a tagger's; transformers asks for `ignore_mismatched_sizes` then.
TAGGERS = dict.fromkeys([name for name in RECURRENT if name != "pairs"], "RecurrentForTokenClassification")
TAGGERS["tagger-bert-crf"] = "CrfTaggerForTokenClassification"


@pytest.mark.parametrize(
    ("auto", "expected"),
    [
        ("AutoConfig", CONFIGS),
        ("AutoModel", BODIES),
        ("AutoModelForSequenceClassification", CLASSIFIERS),
        ("AutoModelForTokenClassification", TAGGERS),
        ("AutoModelForCausalLM", dict.fromkeys(ONE_WAY, "RecurrentForCausalLM")),
    ],
)
def test_a_fresh_process_loads_every_folder_with_each_auto_class(ask, auto, expected):
    assert ask(LOAD, auto=auto, names=list(expected)) == expected


def test_features_are_as_wide_as_the_config_says_and_those_of_the_saved_body(ask, saved):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    names = ["classifier", "bidirectional", "attention", "several-labels", "bert"]
    found = ask(
        """
        result = {}
        for name in given["names"]:
            extract = transformers.pipeline(
                "feature-extraction", model=given["saved"][name], trust_remote_code=True
            )
            result[name] = [extract.model.config.hidden_size, extract("a lovely book", return_tensors=True).tolist()]
        """,
        names=names,
    )
    for name in names:
        model = AutoModelForSequenceClassification.from_pretrained(saved[name], trust_remote_code=True).eval()
        inputs = AutoTokenizer.from_pretrained(saved[name])("a lovely book", return_tensors="pt")
        expected = model.base_model(**inputs).last_hidden_state.tolist()
        width, features = found[name]
        assert len(features[0][0]) == width
        assert features[0] == [pytest.approx(row, abs=1e-6) for row in expected[0]]
