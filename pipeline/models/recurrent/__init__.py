"""RNN, LSTM and GRU as transformers models, and a CRF for any tagger; importing this registers them all."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from .configuration_crf import CrfTaggerConfig
from .configuration_recurrent import RecurrentConfig
from .modeling_crf import CrfTaggerForTokenClassification
from .modeling_recurrent import (
    RecurrentCache,
    RecurrentForCausalLM,
    RecurrentForSequenceClassification,
    RecurrentForTokenClassification,
    RecurrentModel,
    RecurrentPreTrainedModel,
)
from .tokenization_recurrent import RecurrentTokenizer

AutoConfig.register(RecurrentConfig.model_type, RecurrentConfig, exist_ok=True)
AutoModel.register(RecurrentConfig, RecurrentModel, exist_ok=True)
AutoModelForCausalLM.register(RecurrentConfig, RecurrentForCausalLM, exist_ok=True)
AutoModelForSequenceClassification.register(RecurrentConfig, RecurrentForSequenceClassification, exist_ok=True)
AutoModelForTokenClassification.register(RecurrentConfig, RecurrentForTokenClassification, exist_ok=True)
AutoConfig.register(CrfTaggerConfig.model_type, CrfTaggerConfig, exist_ok=True)
AutoModelForTokenClassification.register(CrfTaggerConfig, CrfTaggerForTokenClassification, exist_ok=True)
AutoTokenizer.register(RecurrentConfig, fast_tokenizer_class=RecurrentTokenizer, exist_ok=True)

__all__ = [
    "CrfTaggerConfig",
    "CrfTaggerForTokenClassification",
    "RecurrentCache",
    "RecurrentConfig",
    "RecurrentForCausalLM",
    "RecurrentForSequenceClassification",
    "RecurrentForTokenClassification",
    "RecurrentModel",
    "RecurrentPreTrainedModel",
    "RecurrentTokenizer",
]
