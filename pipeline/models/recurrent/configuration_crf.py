"""Configuration of a CRF on top of any token classification model."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig


@strict
class CrfTaggerConfig(PreTrainedConfig):
    r"""
    Configuration of a [`CrfTaggerForTokenClassification`]. The labels are this config's; `text_config` follows them.

    Args:
        text_config (`PreTrainedConfig` or `dict`, *optional*): of the model that scores each position, any that
            AutoModelForTokenClassification has a class for; None: BERT's.
        special_token_ids (`list[int]`, *optional*): tokens between words that the sequences of tags pass over where
            no labels say so, such as `[CLS]`.

    Example:

    ```python
    >>> from transformers import BertConfig
    >>> from pipeline.models.recurrent import CrfTaggerConfig, CrfTaggerForTokenClassification

    >>> labels = {0: "O", 1: "B-PER", 2: "I-PER"}
    >>> config = CrfTaggerConfig(text_config=BertConfig(num_hidden_layers=1), id2label=labels)
    >>> CrfTaggerForTokenClassification(config).crf.transitions.shape
    torch.Size([3, 3])
    ```"""

    model_type = "crf_tagger"
    _auto_class = "AutoConfig"
    sub_configs: ClassVar = {"text_config": AutoConfig}
    # What transformers' Trainer leaves out of the predictions that it gathers.
    keys_to_ignore_at_inference: ClassVar = ["past_key_values", "nll"]

    text_config: dict | PreTrainedConfig | None = None
    special_token_ids: list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        given = self.text_config or {}
        if isinstance(given, dict):
            given = AutoConfig.for_model(**{"model_type": "bert", **given})
        self.text_config = given
        if getattr(self, "id2label", None) is None and "num_labels" not in kwargs:
            self.id2label = dict(given.id2label)
        super().__post_init__(**kwargs)
        if getattr(self, "label2id", None) is None:
            self.label2id = {label: index for index, label in self.id2label.items()}


__all__ = ["CrfTaggerConfig"]
