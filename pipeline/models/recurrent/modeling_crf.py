"""A CRF on top of any token classification model of transformers, such as BERT.

It lives next to the recurrent models because both are saved with `crf.py`, which only works for files in one folder.
"""

# Shapes: B batch, T time, C labels.

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import AutoModelForTokenClassification, PreTrainedModel
from transformers.utils.generic import can_return_tuple

from .configuration_crf import CrfTaggerConfig
from .crf import LinearChainCRF, TaggerOutput, tag


class CrfTaggerPreTrainedModel(PreTrainedModel):
    """What the tagger and its encoder have in common: the model of `text_config`, and what that supports."""

    config_class = CrfTaggerConfig
    config: CrfTaggerConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: CrfTaggerConfig):
        super().__init__(config)
        text_config: Any = config.text_config
        text_config.id2label, text_config.label2id = dict(config.id2label), dict(config.label2id)
        self.model = AutoModelForTokenClassification.from_config(text_config)


class CrfTaggerModel(CrfTaggerPreTrainedModel):
    """The encoder of a tagger, for its features: what `AutoModel` loads from the folder of a
    [`CrfTaggerForTokenClassification`]. Its outputs are those of the encoder, as `last_hidden_state` (B, T, H)."""

    _auto_class = "AutoModel"
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"^crf\."]

    def __init__(self, config: CrfTaggerConfig):
        super().__init__(config)
        self.post_init()

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        char_ids: torch.LongTensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """See the model of `text_config`."""
        kwargs |= _given(token_type_ids, position_ids, inputs_embeds, char_ids)
        return self.model.base_model(input_ids=input_ids, attention_mask=attention_mask, **kwargs)


def _given(token_type_ids, position_ids, inputs_embeds, char_ids) -> dict[str, Any]:
    """The inputs that are set: not every model has these arguments."""
    values = {
        "token_type_ids": token_type_ids,
        "position_ids": position_ids,
        "inputs_embeds": inputs_embeds,
        "char_ids": char_ids,
    }
    return {name: value for name, value in values.items() if value is not None}


class CrfTaggerForTokenClassification(CrfTaggerPreTrainedModel):
    """A token classification model whose logits are the emissions of a linear-chain CRF; see [`LinearChainCRF`].

    All pieces of a word are labelled, as a span: the first one B-x and the others I-x, in BIOES the last one E-x. The
    sequences of tags run over all pieces and skip padding and special tokens: in training, because they have no labels;
    in evaluation, because of the config's `special_token_ids`.
    """

    _auto_class = "AutoModelForTokenClassification"

    def __init__(self, config: CrfTaggerConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.crf = LinearChainCRF(config)
        self.post_init()

    @classmethod
    def around(
        cls, model: PreTrainedModel, special_token_ids: list[int] | None = None
    ) -> CrfTaggerForTokenClassification:
        """Wrap the token classification model `model`, whose weights are shared, in an untrained CRF."""
        config = CrfTaggerConfig(
            text_config=model.config,
            special_token_ids=special_token_ids,
            pad_token_id=model.config.pad_token_id,
        )
        with torch.device("meta"):  # takes no memory: both parts are replaced
            tagger = cls(config)
        tagger.model = model
        tagger.crf = LinearChainCRF(config).to(device=model.device, dtype=model.dtype)
        tagger._init_weights(tagger.crf)
        return tagger

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, LinearChainCRF):
            module.init_weights()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        char_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> TaggerOutput:
        """
        Args:
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, char_ids: see the model of
                `text_config`.
            labels (B, T): tags; -100 at positions without one.
            num_items_in_batch: the number to divide the summed loss by; None for the number of labels.

        Returns:
            loss, the mean NLL per label, and the nll of each row (B,), if labels are given; logits (B, T, C);
            hidden_states and attentions, if requested; in training, the chain of the CRF.
        """
        kwargs |= {**_given(token_type_ids, position_ids, inputs_embeds, char_ids), "return_dict": True}
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        tagged = tag(self.crf, outputs.logits, input_ids, attention_mask, labels, num_items_in_batch)
        return TaggerOutput(*tagged, hidden_states=outputs.hidden_states, attentions=outputs.get("attentions"))


__all__ = ["CrfTaggerForTokenClassification", "CrfTaggerModel", "CrfTaggerPreTrainedModel"]
