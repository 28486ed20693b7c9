"""RNN, LSTM, GRU, minGRU and minLSTM as transformers models, and a CRF for any tagger. Importing this package registers
them with the Auto classes.

The files are laid out like a model folder of transformers. They are saved with the models, so they import only torch,
transformers and each other:

- `configuration_recurrent.py`, `modeling_recurrent.py` and `tokenization_recurrent.py` hold the configuration, the
  models with their heads, and the tokenizer; `cache.py` has the state to continue from;
- `configuration_seq2seq.py` and `modeling_seq2seq.py` hold the encoder-decoder, whose decoder and attention are in
  `seq2seq_decoder.py`; `tokenization_seq2seq.py` is for source and target texts with vocabularies of their own;
- `saved_type.py` makes their config.json name a type that transformers knows; `field_names.py` refuses misspelt fields;
  `sizes.py` has the units of a layer and the width of its outputs;
- `recurrence.py` has the layer, which runs a cell; `cells.py` says what a cell is and has RNN, GRU and LSTM, and
  `minimal_cells.py` has minGRU and minLSTM, whose recurrence is in `mixing.py`; `cpu_kernels.py` runs GRU and RNN on a
  CPU, `cpu_linear.py` multiplies matrices there, and `dropout.py` draws masks there; `layout.py` says where the words
  of a batch are; `scan.py` is a loop over them that graphs can record; `per_sample.py` refuses wrong gradients of
  single rows;
- `characters.py` encodes the characters of words; `pooling.py` has the maximum over a text, and `pairs.py` compares two
  texts in one row; `adaptive_softmax.py` predicts words of a large vocabulary; `activity.py` is a part of the loss of
  language models;
- `crf.py` has the linear-chain CRF, `crf_inference.py` its recursions, and `tag_constraints.py` what a tagging scheme
  forbids; `tag_labels.py` names the tags in that scheme and outward; `configuration_crf.py` and `modeling_crf.py` put
  the CRF on top of BERT or any other token classification model.
"""

from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from .cache import RecurrentCache
from .configuration_crf import CrfTaggerConfig
from .configuration_recurrent import RecurrentConfig
from .configuration_seq2seq import RecurrentSeq2SeqConfig
from .crf import IGNORED
from .modeling_crf import CrfTaggerForTokenClassification, CrfTaggerModel
from .modeling_recurrent import (
    RecurrentForCausalLM,
    RecurrentForSequenceClassification,
    RecurrentForTokenClassification,
    RecurrentModel,
    RecurrentPreTrainedModel,
)
from .modeling_seq2seq import RecurrentForSeq2SeqLM
from .tokenization_recurrent import RecurrentTokenizer
from .tokenization_seq2seq import RecurrentSeq2SeqTokenizer

# By the type of folders that earlier versions have saved, and by that of config.json.
for config in (RecurrentConfig, RecurrentSeq2SeqConfig, CrfTaggerConfig):
    AutoConfig.register(config.model_type, config, exist_ok=True)
    CONFIG_MAPPING.register(config.saved_type, config, exist_ok=True)
AutoModel.register(RecurrentConfig, RecurrentModel, exist_ok=True)
AutoModelForCausalLM.register(RecurrentConfig, RecurrentForCausalLM, exist_ok=True)
AutoModelForSequenceClassification.register(RecurrentConfig, RecurrentForSequenceClassification, exist_ok=True)
AutoModelForTokenClassification.register(RecurrentConfig, RecurrentForTokenClassification, exist_ok=True)
AutoModelForSeq2SeqLM.register(RecurrentSeq2SeqConfig, RecurrentForSeq2SeqLM, exist_ok=True)
AutoModel.register(CrfTaggerConfig, CrfTaggerModel, exist_ok=True)
AutoModelForTokenClassification.register(CrfTaggerConfig, CrfTaggerForTokenClassification, exist_ok=True)
AutoTokenizer.register(RecurrentConfig, fast_tokenizer_class=RecurrentTokenizer, exist_ok=True)
AutoTokenizer.register(RecurrentSeq2SeqConfig, fast_tokenizer_class=RecurrentSeq2SeqTokenizer, exist_ok=True)

__all__ = [
    "IGNORED",
    "CrfTaggerConfig",
    "CrfTaggerForTokenClassification",
    "CrfTaggerModel",
    "RecurrentCache",
    "RecurrentConfig",
    "RecurrentForCausalLM",
    "RecurrentForSeq2SeqLM",
    "RecurrentForSequenceClassification",
    "RecurrentForTokenClassification",
    "RecurrentModel",
    "RecurrentPreTrainedModel",
    "RecurrentSeq2SeqConfig",
    "RecurrentSeq2SeqTokenizer",
    "RecurrentTokenizer",
]
