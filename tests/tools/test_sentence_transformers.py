"""sentence-transformers and SetFit embed texts with the body of a saved model."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.tools
TEXTS = ["a lovely book", "dreary to read , far too long", "what a tedious end"]
NAMES = ["classifier", "bidirectional", "attention", "language-model", "bert"]


def test_sentence_transformers_embeds_the_mean_of_the_states_as_wide_as_it_declares(ask):
    found = ask(
        """
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import Dense, Pooling, Transformer
        from transformers import AutoModel, AutoTokenizer

        result = {}
        for name in given["names"]:
            folder, trust = given["saved"][name], {"trust_remote_code": True}
            body = Transformer(folder, model_args=trust, config_args=trust)
            pooling = Pooling(body.get_word_embedding_dimension(), "mean")
            width = pooling.get_sentence_embedding_dimension()
            encoder = SentenceTransformer(modules=[body, pooling])
            found = torch.tensor(encoder.encode(given["texts"], batch_size=2))
            model, tokenizer = AutoModel.from_pretrained(folder, **trust).eval(), AutoTokenizer.from_pretrained(folder)
            with torch.no_grad():
                states = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0] for text in given["texts"]]
            difference = (found - torch.stack([state.mean(dim=0) for state in states])).abs().max().item()
            dense = SentenceTransformer(modules=[body, pooling, Dense(width, 3)]).encode(given["texts"])
            result[name] = [width, found.shape[1], difference, list(dense.shape)]
        """,
        names=NAMES,
        texts=TEXTS,
    )
    for declared, width, difference, dense in found.values():
        assert declared == width
        assert difference < 1e-5
        assert dense == [3, 3]


def test_setfit_trains_a_head_on_the_embeddings(ask):
    answers = ask(
        """
        import tempfile
        from datasets import Dataset
        from sentence_transformers import SentenceTransformer
        from setfit import SetFitModel, Trainer, TrainingArguments
        from sklearn.linear_model import LogisticRegression

        body = SentenceTransformer(given["saved"]["bidirectional"], trust_remote_code=True)
        model = SetFitModel(model_body=body, model_head=LogisticRegression(), labels=["good", "bad"])
        texts = ["a lovely book", "what a lovely end", "a tedious book", "dreary to read"] * 4
        rows = Dataset.from_dict({"text": texts, "label": [0, 0, 1, 1] * 4})
        settings = TrainingArguments(tempfile.mkdtemp(), num_epochs=1, batch_size=8, report_to="none")
        Trainer(model=model, args=settings, train_dataset=rows).train()
        result = [str(answer) for answer in model.predict(["a lovely book", "dreary to read"])]
        """
    )
    assert answers == ["good", "bad"]
