"""How an encoder-decoder writes texts: its search, what it has written, and what it has looked at.

Shapes: B rows of a batch, S tokens of the text, T of the translation, H attention heads, K translations of a text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from pipeline.config.schema import Count, LengthPenalty, check
from pipeline.data.tokenization import translated
from pipeline.errors import UserError
from pipeline.models import modes
from pipeline.models.recurrent.crf import IGNORED

# See `unlimited`; transformers would stop after 20.
MOST_TOKENS = 256
# What a tokenizer writes for bytes that are no character.
UNDECODED = "\N{REPLACEMENT CHARACTER}"


class NoAttention(UserError):
    """The model does not attend from the translation to the text."""


def options(
    model: PreTrainedModel, beams: int | None, length_penalty: float | None, n_best: int | None
) -> dict[str, Any]:
    """The arguments of `search`, from those of `finetune predict`.

    Raises:
        UserError: a number is out of range, there are fewer beams than translations to give, or there is a length
            penalty without beams.
    """
    check("beams", beams, Count | None)
    check("n-best", n_best, Count | None)
    check("length-penalty", length_penalty, LengthPenalty | None)
    used = beams or max(model.generation_config.num_beams or 1, n_best or 1)
    if n_best is not None and n_best > used:
        raise UserError(f"n-best: {used} beams find no more than {used} translations; raise beams, or lower it")
    if length_penalty is not None and used == 1:
        raise UserError("length-penalty: it compares beams, and there is only one; raise beams, or leave it out")
    found: dict[str, Any] = {"num_beams": used, "num_return_sequences": n_best or 1}
    return found if length_penalty is None else {**found, "length_penalty": length_penalty}


def search(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], **given: Any) -> Any:
    """What `model.generate` returns: `sequences` (B * K, T) and, if `output_scores` is given for beams,
    `sequences_scores` (B * K,)."""
    if model.generation_config.max_length is None and model.generation_config.max_new_tokens is None:
        given["max_new_tokens"] = unlimited(model.config)
    return model.generate(**inputs, do_sample=False, return_dict_in_generate=True, **given)


def unlimited(config: PreTrainedConfig) -> int:
    """How many tokens a model of this configuration writes at most, if it was saved without a limit."""
    return min(MOST_TOKENS, getattr(config, "max_position_embeddings", None) or MOST_TOKENS)


def written(sequences: torch.Tensor, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The texts of rows of tokens."""
    return [text.strip() for text in tokenizer.batch_decode(sequences, skip_special_tokens=True)]


def answers(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    tokenizer: PreTrainedTokenizerBase,
    n_best: int | None,
    attention: bool,
    given: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """The answer to each row of `inputs`; see `Translation.predict`."""
    found = search(model, inputs, **given, output_scores=n_best is not None)
    texts, each = written(found.sequences, tokenizer), given["num_return_sequences"]
    rows: list[dict[str, Any]] = [{"translation": text} for text in texts[::each]]
    if n_best is not None:
        scores = found.sequences_scores.tolist() if given["num_beams"] > 1 else [None] * len(texts)
        pairs = [{"text": text, "score": score} for text, score in zip(texts, scores, strict=True)]
        for number, row in enumerate(rows):
            row["translations"] = pairs[number * each : (number + 1) * each]
    if attention:
        weights = attended(model, inputs, found.sequences[::each], tokenizer)
        for row, own in zip(rows, weights, strict=True):
            row["attention"] = own
    return rows


def nothing(n_best: int | None, attention: bool) -> dict[str, Any]:
    """The answer to a text without words, for which a model would make something up."""
    answer: dict[str, Any] = {"translation": ""}
    if n_best is not None:
        answer["translations"] = []
    if attention:
        answer["attention"] = {"source": [], "target": [], "weights": []}
    return answer


def attended(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    sequences: torch.Tensor,
    tokenizer: PreTrainedTokenizerBase,
) -> list[dict[str, Any]]:
    """Of each row the tokens of the text as `source`, those of its translation as `target`, and the `weights` that each
    target token gives to the source tokens: those of the last layer, the mean of its heads. The tokens of a side are
    its text when they are joined, so one that begins a word begins with a blank; see `_shown`.

    Args:
        sequences: (B, 1 + T) what the model has written, after the token that it starts with.

    Raises:
        NoAttention: the model has none from one side to the other.
    """
    labels = _labels(sequences[:, 1:], model)
    weights = _weights(model, inputs, labels)
    mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).bool()
    return [
        {
            "source": _shown(ids[is_text], lambda own: translated.decode_source(own, tokenizer)),
            "target": _shown(target[target != IGNORED], tokenizer.decode),
            "weights": own[target != IGNORED][:, is_text].tolist(),
        }
        for ids, is_text, target, own in zip(inputs["input_ids"], mask, labels, weights, strict=True)
    ]


def _weights(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    """(B, T, S), the mean over the heads of the last layer."""
    with modes.keeping_attention(model):
        outputs = model(**inputs, labels=labels, output_attentions=True)
    layers = getattr(outputs, "cross_attentions", None)
    if not layers or layers[-1] is None:
        raise NoAttention("attention: this model has none from the translation to the text; leave it out")
    return layers[-1].float().mean(dim=1)  # (B, H, T, S)


def _labels(sequences: torch.Tensor, model: PreTrainedModel) -> torch.Tensor:
    """Tokens up to and with the end token, IGNORED behind it; the padding token may be the end token."""
    ends = sequences == model.config.eos_token_id
    behind = ends.cumsum(dim=1) - ends.long() > 0
    return sequences.masked_fill(behind, IGNORED)


def _shown(ids: torch.Tensor, decode: Callable[[torch.Tensor], str]) -> list[str]:
    """What each token adds to the text, with the blank before it. A token that ends within a character, as bytes may,
    adds nothing, and the one that completes it adds all of it."""
    pieces, before = [], ""
    for end in range(1, len(ids) + 1):
        text = decode(ids[:end])
        is_within = text.endswith(UNDECODED) and end < len(ids)
        pieces.append("" if is_within else _added(text, before) or decode(ids[end - 1 : end]))
        before = before if is_within else text
    return pieces


def _added(text: str, before: str) -> str:
    """The end of `text` behind `before`; nothing if it does not begin with it, because a decoder joins tokens."""
    return text.removeprefix(before) if text.startswith(before) else ""
