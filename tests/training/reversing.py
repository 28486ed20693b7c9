"""A third-party task whose score needs generated text: after a text, the model writes its words in reverse."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from pipeline.models.recurrent.crf import IGNORED
from pipeline.tasks.base import Task, padded_inputs


class Reverse(Task):
    """Rows are a text, the end token, the text in reverse and the end token; only the second half is learned."""

    name = "reverse"
    head = "CausalLM"
    monitor = "exact_match"
    columns: ClassVar[dict[str, tuple[str, ...]]] = {"text": ("text",)}
    scored_with = ("reference",)

    def encode(self, rows, tokenizer, max_length, labels):
        end = tokenizer.eos_token_id
        texts = tokenizer(rows["text"], add_special_tokens=False)["input_ids"]
        return {
            "input_ids": [[end, *ids, end, *ids[::-1]] for ids in texts],
            "truncated": [False] * len(texts),
            "labels": [[IGNORED] * (len(ids) + 1) + [*ids[::-1], end] for ids in texts],
            "reference": [" ".join(reversed(text.split())) for text in rows["text"]],
        }

    def collate(self, rows, tokenizer):
        batch = padded_inputs(rows, tokenizer)
        batch["labels"] = torch.from_numpy(rows.padded("labels", IGNORED))
        batch["shift_labels"] = batch["labels"]  # they are at the position that predicts them
        return batch, int((batch["labels"] != IGNORED).sum())

    def outcome(self, outputs, batch):
        nll = F.cross_entropy(outputs.logits.float().transpose(1, 2), batch["labels"], reduction="none")
        return {"nll": nll.double().sum(dim=1), "labels": (batch["labels"] != IGNORED).sum(dim=1)}

    def generate(self, model, batch, tokenizer):
        """What the model writes after each prompt, row by row, as prompts have different lengths."""
        prompts = [ids[: int((labels == IGNORED).int().argmin()) + 1] for ids, labels in _rows(batch)]
        written = [self._write(model, prompt[None], tokenizer) for prompt in prompts]
        return {"written": written}

    def _write(self, model, prompt, tokenizer) -> str:
        end = tokenizer.eos_token_id
        ids = model.generate(
            prompt, max_new_tokens=prompt.shape[1], do_sample=False, pad_token_id=end, eos_token_id=end
        )
        return tokenizer.decode(ids[0, prompt.shape[1] :], skip_special_tokens=True).strip()

    def score(self, outcome, labels):
        matches = outcome["written"] == outcome["reference"]
        return {
            "loss": float(outcome["nll"].sum() / outcome["labels"].sum()),
            "exact_match": float(np.mean(matches)),
        }

    def predict(self, texts, model, tokenizer, labels):
        for text in texts:
            end = tokenizer.eos_token_id
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            prompt = torch.tensor([[end, *ids, end]], device=model.device)
            with torch.inference_mode():
                yield {"text": text, "reversed": self._write(model, prompt, tokenizer)}


def _rows(batch: dict[str, torch.Tensor]) -> Any:
    return zip(batch["input_ids"], batch["labels"], strict=True)
