"""What a model answers to a few rows of its data: written by the run, asked again wherever the model is loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.errors import UserError, reason
from pipeline.run_folder import ANSWERS
from pipeline.storage import write as write_whole

ROWS, LONGEST = 4, 64
# Sums in another order, or on another device, move a logit by so much.
ABSOLUTE, RELATIVE = 1e-4, 1e-3


def answers(model, tokenizer, texts, classes=None):  # its source runs in another process as well
    """For each text its token ids, the best class at each position (one for a whole text), that class's logit, and the
    logit of the best; `classes` are those whose logits are wanted where they are not the best ones, a list per text."""
    import torch

    told = []
    model.eval()
    with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
        for number, text in enumerate(texts):
            batch = tokenizer(text, truncation=True, max_length=64, return_tensors="pt").to(model.device)
            outputs = model(**batch)
            logits = getattr(outputs, "logits", outputs[0])[0].float()  # (C,), (T, C) or (T, V)
            top = logits.max(dim=-1)
            wanted = torch.tensor(classes[number], device=logits.device) if classes else top.indices
            fits = wanted.shape == top.indices.shape and int(wanted.max()) < logits.shape[-1]
            chosen = logits.gather(-1, wanted.unsqueeze(-1)).squeeze(-1) if fits else top.values
            ids = batch["input_ids"][0].tolist()
            told.append(
                {"ids": ids, "best": top.indices.tolist(), "logits": chosen.tolist(), "top": top.values.tolist()}
            )
    return told


def texts_of(rows: Dataset, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The first few of encoded rows as text again; a text that holds no word is left out."""
    texts = [tokenizer.decode(ids[:LONGEST], skip_special_tokens=True) for ids in rows[: 8 * ROWS]["input_ids"]]
    return list(dict.fromkeys(text for text in texts if text.strip()))[:ROWS] or ["."]


def write(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, head: str, rows: Dataset, card: str
) -> None:
    """Write what `model`, as it was trained, answers to a few of `rows`, and the digest of its card."""
    texts = texts_of(rows, tokenizer)
    told = {"head": head, "labels": _labels(model), "card": digest(card), "texts": texts}
    try:
        told["answers"] = answers(model, tokenizer, texts)
    except Exception as error:  # a model of somebody's own may want other inputs: its run is finished all the same
        told["unasked"] = reason(error)
    write_whole(folder / ANSWERS, json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def digest(card: str) -> str:
    """What tells whether a card is still as the run has left it."""
    return hashlib.sha256(card.encode()).hexdigest()


def read(folder: Path) -> dict[str, Any]:
    """What `write` has written in a run.

    Raises:
        UserError: it is not there or cannot be read.
    """
    file = folder / ANSWERS
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        if "unasked" in told:
            raise UserError(f"{folder}: its model does not answer to texts, and cannot be checked: {told['unasked']}")
        return {name: told[name] for name in ("head", "labels", "card", "texts", "answers")}
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(
            f"{folder}: it has no {ANSWERS}, against which a model is checked before it is pushed; run it again"
        ) from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{file}: it cannot be read: {reason(error)}; run it again") from error


def _labels(model: Any) -> list[str]:
    return [str(name) for _, name in sorted(model.config.id2label.items())]


def difference(expected: list[dict[str, Any]], found: list[dict[str, Any]]) -> str | None:
    """The first thing in which two lists of answers differ, in words; None: they are the same."""
    for number, (one, other) in enumerate(zip(expected, found, strict=True), start=1):
        if one["ids"] != other["ids"]:
            return f"text {number} becomes other tokens"
        was = _flat(one["logits"])
        for now in (_flat(other["logits"]), _flat(other["top"])):
            if len(was) != len(now):
                return f"text {number} gets {len(now)} answers, in the run {len(was)}"
            for before, after in zip(was, now, strict=True):
                if not abs(before - after) <= ABSOLUTE + RELATIVE * abs(before):  # not a number differs, too
                    return f"text {number} gets the logit {after:.5g}, in the run {before:.5g}"
    return None


def _flat(values: float | list[float]) -> list[float]:
    return values if isinstance(values, list) else [values]
