"""TRL fine-tunes saved language models, also on packed rows."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.tools
TEXTS = ["the fog comes on little cat feet", "it sits looking over harbor and city", "and then moves on"]

SFT = """
import tempfile
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

folder = given["saved"][given["name"]]
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
settings = SFTConfig(
    tempfile.mkdtemp(), max_steps=2, per_device_train_batch_size=4, per_device_eval_batch_size=4, report_to=[],
    use_cpu=True, bf16=False, disable_tqdm=True, save_strategy="no", gradient_checkpointing=False, **given["settings"],
)
rows = Dataset.from_dict({"text": given["texts"]})
trainer = SFTTrainer(model, settings, train_dataset=rows, eval_dataset=rows, processing_class=tokenizer)
total, count = 0.0, 0
for text in given["texts"]:
    ids = tokenizer(text)["input_ids"]
    ids = torch.tensor([ids if ids[-1] == tokenizer.eos_token_id else [*ids, tokenizer.eos_token_id]])
    with torch.no_grad():
        total += model(ids, labels=ids).loss.item() * (ids.shape[1] - 1)
    count += ids.shape[1] - 1
before = trainer.evaluate()["eval_loss"]
trainer.train()
result = [before, total / count, trainer.evaluate()["eval_loss"]]
"""


@pytest.mark.parametrize("settings", [{}, {"packing": True, "max_length": 40, "eval_packing": True}])
def test_its_loss_is_that_of_the_texts_one_by_one_in_padded_and_packed_rows(ask, settings):
    before, alone, after = ask(SFT, name="language-model", texts=TEXTS, settings=settings)
    assert before == pytest.approx(alone, abs=1e-4)
    assert after < before
