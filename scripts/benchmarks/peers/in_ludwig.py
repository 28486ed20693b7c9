"""The model in Ludwig: a text feature with the recurrent encoder."""

from __future__ import annotations

import logging
import tempfile
from typing import Any

import pandas as pd
import torch
from ludwig.api import LudwigModel
from ludwig.callbacks import Callback

from benchmarks.peers.side import Passes, Settings, known_words, read_recipe, read_rows


class Clock(Callback):
    """Starts and times each epoch."""

    def __init__(self, passes: Passes) -> None:
        self._passes = passes

    def on_epoch_start(self, *_: Any, **__: Any) -> None:
        self._passes.begin()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self._passes.end()


def main() -> None:
    passes, recipe = Passes(), read_recipe()
    torch.set_num_threads(1)
    train, test = (read_rows(recipe, split) for split in ("train", "test"))
    settings = configuration(recipe, len(known_words(recipe, train)))
    model = LudwigModel(settings, logging_level=logging.WARNING, callbacks=[Clock(passes)])
    passes.ready("ludwig", "torch")
    with tempfile.TemporaryDirectory() as folder:
        model.train(
            training_set=pd.DataFrame(train),
            output_directory=folder,
            random_seed=recipe["train"]["seed"],
            skip_save_model=True,
            skip_save_progress=True,
            skip_save_log=True,
            skip_save_processed_input=True,
            skip_save_training_statistics=True,
            skip_save_training_description=True,
        )
        answers, _ = model.predict(pd.DataFrame(test), output_directory=folder)
    right = [found == row["label"] for found, row in zip(answers["label_predictions"], test, strict=True)]
    passes.score(sum(right) / len(right))


def configuration(recipe: Settings, words: int) -> Settings:
    own, optim, train = recipe["model"], recipe["optim"], recipe["train"]
    text = {
        "name": "text",
        "type": "text",
        "preprocessing": {"tokenizer": "space", "most_common": words},
        "encoder": {
            "type": "rnn",
            "cell_type": own["cell"],
            "bidirectional": own["bidirectional"],
            "state_size": own["hidden_size"],
            "embedding_size": own["embedding_size"],
            "dropout": own["embedding_dropout"],
            "reduce_output": own["pooling"],
        },
    }
    label = {"name": "label", "type": "category", "decoder": {"type": "classifier", "dropout": own["dropout"]}}
    optimizer = {"type": "adamw", "weight_decay": optim["weight_decay"]}
    return {
        "input_features": [text],
        "output_features": [label],
        "trainer": {
            "epochs": train["epochs"],
            "batch_size": train["batch_size"],
            "learning_rate": optim["learning_rate"],
            "optimizer": optimizer,
            "gradient_clipping": {"clipglobalnorm": optim["max_grad_norm"]},
            "skip_all_evaluation": True,
        },
    }


if __name__ == "__main__":
    main()
