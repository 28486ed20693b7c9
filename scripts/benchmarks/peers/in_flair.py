"""The model in flair: a text classifier on a recurrent document embedding, or a sequence tagger."""

from __future__ import annotations

import tempfile
from typing import Any

import flair
import torch
from flair.data import Corpus, Dictionary, Sentence
from flair.datasets import FlairDatapointDataset
from flair.embeddings import DocumentRNNEmbeddings, OneHotEmbeddings
from flair.models import SequenceTagger, TextClassifier
from flair.trainers import ModelTrainer
from flair.trainers.plugins import TrainerPlugin

from benchmarks.peers.side import Passes, Settings, read_recipe, read_rows, spans

LABEL = "label"


class Clock(TrainerPlugin):
    """Starts and times each epoch."""

    def __init__(self, passes: Passes) -> None:
        super().__init__()
        self._passes = passes

    @TrainerPlugin.hook
    def before_training_epoch(self, **_: Any) -> None:
        self._passes.begin()

    @TrainerPlugin.hook
    def after_training_epoch(self, **_: Any) -> None:
        self._passes.end()


def sentence(row: Settings) -> Sentence:
    if "text" in row:
        return Sentence(row["text"].split()).add_label(LABEL, row["label"])
    found = Sentence(row["tokens"])
    for start, end, kind in spans(row["tags"]):
        found[start:end].add_label(LABEL, kind)
    return found


def build(recipe: Settings, corpus: Corpus, labels: Dictionary) -> flair.nn.Model:
    """`reproject` would be a linear layer between the words and the LSTM, which ours does not have."""
    own = recipe["model"]
    words = OneHotEmbeddings.from_corpus(
        corpus, min_freq=recipe["data"]["min_frequency"], embedding_length=own["embedding_size"]
    )
    if recipe["task"] == "ner":
        return SequenceTagger(
            words,
            labels,
            LABEL,
            hidden_size=own["hidden_size"],
            use_crf=own["crf"],
            dropout=own["dropout"],
            word_dropout=0.0,
            locked_dropout=0.0,
            reproject_embeddings=False,
        )
    text = DocumentRNNEmbeddings(
        [words],
        rnn_type="LSTM",
        bidirectional=True,
        hidden_size=own["hidden_size"],
        dropout=own["dropout"],
        reproject_words=False,
    )
    return TextClassifier(text, label_type=LABEL, label_dictionary=labels)


def main() -> None:
    passes, recipe = Passes(), read_recipe()
    torch.set_num_threads(1)
    flair.set_seed(recipe["train"]["seed"])
    train, test = ([sentence(row) for row in read_rows(recipe, split)] for split in ("train", "test"))
    corpus = Corpus(FlairDatapointDataset(train), sample_missing_splits=False)
    model = build(recipe, corpus, corpus.make_label_dictionary(LABEL, add_unk=False))
    passes.ready("flair", "torch")
    with tempfile.TemporaryDirectory() as folder:
        ModelTrainer(model, corpus).train(
            folder,
            optimizer=torch.optim.AdamW,
            learning_rate=recipe["optim"]["learning_rate"],
            weight_decay=recipe["optim"]["weight_decay"],
            max_grad_norm=recipe["optim"]["max_grad_norm"],
            mini_batch_size=recipe["train"]["batch_size"],
            max_epochs=recipe["train"]["epochs"],
            attach_default_scheduler=False,
            embeddings_storage_mode="none",
            save_final_model=False,
            plugins=[Clock(passes)],
        )
    passes.score(model.evaluate(test, LABEL).main_score)


if __name__ == "__main__":
    main()
