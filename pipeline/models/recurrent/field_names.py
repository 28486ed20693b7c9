"""Refuse a misspelt field of a configuration, which the base class would store or drop."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from transformers import GenerationConfig

# Names that transformers and its tools write into a config, or pass to one, without declaring a field.
UNDECLARED = {
    "model_type",
    "auto_map",
    "num_labels",
    "torch_dtype",
    "name_or_path",
    "attn_implementation",
    "experts_implementation",
    "output_attentions",
    "quantization_config",
    "per_layer_config",
    "custom_pipelines",
    "use_return_dict",
    "torchscript",
    "tie_encoder_decoder",
    "pruned_heads",
    "finetuning_task",
    "task_specific_params",
    "is_decoder",
    "add_cross_attention",
    "cross_attention_hidden_size",
    "sep_token_id",
    "decoder_start_token_id",
    "tokenizer_class",
    "prefix",
    "use_bfloat16",
    "tf_legacy_loss",
}

# Names that Keras and torch.nn use -> names of the fields here.
OTHER_NAMES = {
    "num_layers": "num_hidden_layers",
    "layers": "num_hidden_layers",
    "n_layers": "num_hidden_layers",
    "embedding_dim": "embedding_size",
    "output_dim": "embedding_size",
    "input_dim": "vocab_size",
    "num_embeddings": "vocab_size",
    "cell": "cell_type",
    "rnn_type": "cell_type",
    "mode": "cell_type",
    "dropout": "hidden_dropout",
}


def check_names(config_class: Any, names: Iterable[str], saved: bool) -> None:
    """Refuse `names` that are not fields of `config_class`, with a suggestion.

    Args:
        saved: the names are from a file, which another version of transformers may have added names to: only a near
            miss of a field's name is refused.

    Raises:
        ValueError: a name is not a field.
    """
    declared = config_class.__dataclass_fields__
    known = {*declared, *UNDECLARED, *GenerationConfig().to_dict()}
    fields = sorted(name for name in declared if not name.startswith("_"))
    for name in names:
        if name in known or name.startswith("_"):
            continue
        # 0.88 finds a typo of a letter or two, and does not take a tokenizer's `pad_token` for `pad_token_id`.
        close = difflib.get_close_matches(name, fields, n=1, cutoff=0.88 if saved else 0.6)
        near = OTHER_NAMES.get(name) or next(iter(close), None)
        if near or not saved:
            hint = f"did you mean `{near}`?" if near else f"the fields are: {', '.join(fields)}."
            raise ValueError(f"{config_class.__name__} has no field `{name}`; {hint}")


__all__ = ["check_names"]
