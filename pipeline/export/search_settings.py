"""What export.json tells translator.py about the search for translations: what generation_config.json says."""

from __future__ import annotations

from typing import Any

from transformers import GenerationConfig, PreTrainedConfig

from pipeline.errors import UserError
from pipeline.tasks import translating

OTHERS = (
    *("begin_suppress_tokens", "constraints", "diversity_penalty", "dola_layers", "encoder_no_repeat_ngram_size"),
    *("exponential_decay_length_penalty", "force_words_ids", "max_time", "penalty_alpha", "remove_invalid_values"),
    *("sequence_bias", "stop_strings", "token_healing", "watermarking_config"),
)
# Settings of `generate` that translator.py does not know -> a value with which they change nothing, besides None and 0.
UNKNOWN = {
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "guidance_scale": 1.0,
    "num_beam_groups": 1,
    **dict.fromkeys(OTHERS),
}


def settings(generation: GenerationConfig, config: PreTrainedConfig) -> dict[str, Any]:
    """How `generate` searches for a translation, JSON-serializable. Lengths count the token that begins a translation.

    Raises:
        UserError: the search has a setting that translator.py does not know, or nothing says how a translation begins.
    """
    _refuse_unknown(generation)
    start = generation.bos_token_id if generation.decoder_start_token_id is None else generation.decoder_start_token_id
    if start is None:
        raise UserError("export: generation_config.json has no decoder_start_token_id, with which a translation begins")
    ends = [] if generation.eos_token_id is None else generation.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    no_words = [token for (token,) in generation.bad_words_ids or () if token not in ends]
    fewest = generation.min_length or 0
    if generation.min_new_tokens is not None:
        fewest = max(fewest, generation.min_new_tokens + 1)
    return {
        "num_beams": generation.num_beams or 1,
        "length_penalty": 1.0 if generation.length_penalty is None else generation.length_penalty,
        "early_stopping": generation.early_stopping or False,
        "min_length": fewest if ends else 0,
        "max_length": _longest(generation, config),
        "start": start,
        "ends": ends,
        "pad": generation.pad_token_id if generation.pad_token_id is not None else (ends or [start])[0],
        "forced_start": generation.forced_bos_token_id,
        "forced_end": generation.forced_eos_token_id,
        "banned": [*no_words, *(generation.suppress_tokens or ())],
        "no_repeat_ngram_size": generation.no_repeat_ngram_size or 0,
        "renormalize": bool(generation.renormalize_logits),
    }


def _refuse_unknown(generation: GenerationConfig) -> None:
    for name, neutral in UNKNOWN.items():
        value = getattr(generation, name, None)
        if value and value != neutral:
            raise UserError(f"export: runner.py does not know {name} in generation_config.json; remove it there")
    if any(len(words) > 1 for words in generation.bad_words_ids or ()):
        raise UserError("export: runner.py bans single tokens only; remove bad_words_ids in generation_config.json")
    if isinstance(generation.forced_eos_token_id, list):
        raise UserError("export: runner.py forces one end token only; give forced_eos_token_id as a number")


def _longest(generation: GenerationConfig, config: PreTrainedConfig) -> int:
    if generation.max_new_tokens is not None:
        return generation.max_new_tokens + 1
    if generation.max_length is not None:
        return generation.max_length
    return translating.unlimited(config) + 1
