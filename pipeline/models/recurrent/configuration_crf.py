"""Configuration of a CRF on top of any token classification model."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from .saved_type import SavedUnderKnownType


@strict
class CrfTaggerConfig(SavedUnderKnownType):
    r"""
    This is the configuration class to store the configuration of a [`CrfTaggerForTokenClassification`]. The labels are
    those of this configuration; the model copies them to `text_config`.

    Args:
        text_config (`PreTrainedConfig` or `dict`, *optional*):
            Configuration of the model that computes the emissions: any model with a class for
            `AutoModelForTokenClassification`. Defaults to BERT.
        special_token_ids (`list[int]`, *optional*):
            Tokens that have no tag, such as `[CLS]`; they are skipped when no labels are given.
        learned_labels (`list[str]`, *optional*):
            The names of the tags by id, in BIOES, if `id2label` names them in IOB2, as the pipelines of transformers
            read them. Two tags then share a name; see `tag_labels.py`.

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
    saved_type = "clvp_decoder"
    auto_classes: ClassVar[dict[str, str]] = {
        "AutoModel": "modeling_crf.CrfTaggerModel",
        "AutoModelForTokenClassification": "modeling_crf.CrfTaggerForTokenClassification",
    }
    _auto_class = "AutoConfig"
    sub_configs: ClassVar[dict[str, Any]] = {"text_config": AutoConfig}
    # Outputs that transformers' Trainer does not gather as predictions.
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values", "nll"]

    text_config: dict | PreTrainedConfig | None = None
    special_token_ids: list[int] | None = None
    learned_labels: list[str] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        given = self.text_config or {}
        if isinstance(given, dict):
            # As from a file, which an earlier version may have written.
            given = type(AutoConfig.for_model(given.get("model_type", "bert"))).from_dict(given)
        self.text_config = given
        if getattr(self, "id2label", None) is None and "num_labels" not in kwargs:
            self.id2label, self.learned_labels = dict(given.id2label), getattr(given, "learned_labels", None)
        super().__post_init__(**kwargs)
        if getattr(self, "label2id", None) is None:
            # The first of each name, as `learned_labels` may give two labels the same.
            self.label2id = {label: index for index, label in reversed(self.id2label.items())}

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        # A tagger without a CRF is loaded with an untrained one: its config is that of the encoder.
        if "text_config" not in config_dict and config_dict.get("model_type", cls.model_type) not in (
            cls.model_type,
            cls.saved_type,
        ):
            config_dict = {"text_config": config_dict}
        return super().from_dict(config_dict, **kwargs)

    @property
    def hidden_size(self) -> int:
        """Width of `last_hidden_state`, as tools read it."""
        return self.get_text_config().hidden_size

    @hidden_size.setter
    def hidden_size(self, width: int) -> None:
        self.get_text_config().hidden_size = width


__all__ = ["CrfTaggerConfig"]
