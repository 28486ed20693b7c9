"""Reference outputs: the logits of a few texts, recorded by the run and recomputed before a push."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.data.tokenization.translated import decode_source
from pipeline.errors import UserError, reason
from pipeline.run_folder import ANSWERS
from pipeline.storage import write as write_atomically

TEXTS, MAX_TOKENS = 4, 64
# Logits may differ by this much if sums are computed in another order or on another device.
ABSOLUTE, RELATIVE = 1e-4, 1e-3


def compute_outputs(model, tokenizer, texts, classes=None):
    """The best classes and their logits for each text. `verify` runs the source of this function in another process.

    Args:
        texts: strings or, for models of pairs, lists of two.
        classes: for each text, the class at each position whose logit is returned; None: the best ones.

    Returns:
        For each text `ids`, its token ids; `best`, the best class at each position (one number for a whole text);
        `logits`, of `classes`; `top`, of the best classes.
    """
    import torch

    found = []
    model.eval()
    with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
        for number, text in enumerate(texts):
            parts = [text] if isinstance(text, str) else text
            batch = tokenizer(*parts, truncation=True, max_length=64, return_tensors="pt").to(model.device)
            if getattr(model.config, "is_encoder_decoder", False):  # its decoder reads the text as well
                target = tokenizer(text_target=text, truncation=True, max_length=64, return_tensors="pt")
                batch["decoder_input_ids"] = target["input_ids"].to(model.device)
            outputs = model(**batch)
            logits = getattr(outputs, "logits", outputs[0])[0].float()  # (C,), (T, C) or (T, V)
            top = logits.max(dim=-1)
            wanted = torch.tensor(classes[number], device=logits.device) if classes else top.indices
            fits = wanted.shape == top.indices.shape and int(wanted.max()) < logits.shape[-1]
            chosen = logits.gather(-1, wanted.unsqueeze(-1)).squeeze(-1) if fits else top.values
            ids = batch["input_ids"][0].tolist()
            found.append(
                {"ids": ids, "best": top.indices.tolist(), "logits": chosen.tolist(), "top": top.values.tolist()}
            )
    return found


def sample_texts(rows: Dataset, tokenizer: PreTrainedTokenizerBase, pairs: bool = False) -> list[Any]:
    """Up to TEXTS different texts, or lists of two texts, decoded from the first of the encoded `rows`; rows with a
    blank text are skipped."""
    first = rows[: 8 * TEXTS]
    types = first.get("token_type_ids") or [None] * len(first["input_ids"])
    found: dict[tuple[str, ...], None] = {}
    for ids, own in zip(first["input_ids"], types, strict=True):
        parts = _parts(ids, own, tokenizer) if pairs else [ids[:MAX_TOKENS]]
        texts = tuple(decode_source(part, tokenizer, skip_special_tokens=True) for part in parts)
        if all(text.strip() for text in texts) and len(texts) == 1 + pairs:
            found[texts] = None
    chosen = list(found)[:TEXTS] or [(".",) * (1 + pairs)]
    return [list(texts) if pairs else texts[0] for texts in chosen]


def _parts(ids: list[int], types: list[int] | None, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The tokens of each text of a pair, told apart by their types or, without types, by special tokens."""
    if types is not None:
        parts = [[token for token, own in zip(ids, types, strict=True) if own == number] for number in (0, 1)]
    else:
        special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        special |= {tokenizer.eos_token_id}  # which is also GPT-2's unknown token
        runs = itertools.groupby(ids, key=lambda token: token in special)
        parts = [list(run) for is_special, run in runs if not is_special]
    return [part[: MAX_TOKENS // 2] for part in parts]


def write(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    head: str,
    rows: Dataset,
    card: str,
    pairs: bool = False,
) -> None:
    """Write answers.json: the outputs of the trained `model` for a few of `rows`, its labels, the hash of its card.

    Args:
        pairs: whether the rows hold two texts each.
    """
    texts = sample_texts(rows, tokenizer, pairs)
    reference: dict[str, Any] = {"head": head, "labels": _labels(model), "card": card_hash(card), "texts": texts}
    try:
        reference["answers"] = compute_outputs(model, tokenizer, texts)
    except Exception as error:  # a third-party model may need other inputs: its run must finish all the same
        reference["unasked"] = reason(error)
    write_atomically(folder / ANSWERS, json.dumps(reference, indent=2, ensure_ascii=False) + "\n")


def card_hash(card: str) -> str:
    """SHA-256 of a card, to see later whether it has been edited."""
    return hashlib.sha256(card.encode()).hexdigest()


def read(folder: Path) -> dict[str, Any]:
    """answers.json in the folder of a run: `head`, `labels`, `card`, `texts` and `answers`.

    Raises:
        UserError: the file is missing or damaged, or the model could not be run on text alone.
    """
    file = folder / ANSWERS
    try:
        reference = json.loads(file.read_text(encoding="utf-8"))
        if "unasked" in reference:
            raise UserError(
                f"{folder}: its model cannot be verified, because it did not run on text alone: {reference['unasked']}"
            )
        return {name: reference[name] for name in ("head", "labels", "card", "texts", "answers")}
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(
            f"{folder}: there is no {ANSWERS}, against which a model is verified before a push; run it again"
        ) from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{file}: cannot be read: {reason(error)}; run it again") from error


def _labels(model: Any) -> list[str]:
    return [str(name) for _, name in sorted(model.config.id2label.items())]


def first_difference(expected: list[dict[str, Any]], found: list[dict[str, Any]]) -> str | None:
    """The first difference between two outputs of `compute_outputs`, in words; None: they agree within tolerance.

    The expected class must have the expected logit, and so must the class that is the best one now: two classes may
    swap places only where their logits are equal up to rounding.
    """
    for number, (one, other) in enumerate(zip(expected, found, strict=True), start=1):
        if one["ids"] != other["ids"]:
            return f"text {number} has different tokens"
        was = _flat(one["logits"])
        for now in (_flat(other["logits"]), _flat(other["top"])):
            if len(was) != len(now):
                return f"text {number} has {len(now)} outputs instead of {len(was)}"
            for before, after in zip(was, now, strict=True):
                if not abs(before - after) <= ABSOLUTE + RELATIVE * abs(before):  # also true for NaN
                    return f"text {number} has the logit {after:.5g} instead of {before:.5g}"
    return None


def _flat(values: float | list[float]) -> list[float]:
    return values if isinstance(values, list) else [values]
