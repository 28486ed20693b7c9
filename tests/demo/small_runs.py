"""Small runs of each task for the tests of demos, in Hebrew and English."""

from __future__ import annotations

from pathlib import Path

from pipeline.config.data import Data
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.run import train

HEBREW = "דנה גרה בתל אביב עם Ann Lee"
TAGS = ("B-PER", "O", "B-LOC", "I-LOC", "O", "B-PER", "I-PER")
ROWS = {
    "sentiment": ("reviews.csv", "text,label\n" + "".join(f"a warm film {n},good\ndull {n},bad\n" for n in range(20))),
    "ner": (
        "tags.conll",
        "".join("\n".join(map(" ".join, zip(HEBREW.split(), TAGS, strict=True))) + f"\n{n} O\n\n" for n in range(60)),
    ),
    "next_word": ("lines.txt", "".join(f"the cat sat on the mat {n}\n" for n in range(60))),
}


def make(folder: Path, task: str, name: str, epochs: int = 1, **model: int) -> str:
    """Train a model of `task` in a new folder called `name`, and return that."""
    file, content = ROWS[task]
    (folder / file).write_text(content, encoding="utf-8")
    settings = {"hidden_size": 8, "embedding_size": 8, **model}
    where = Train(output_dir=str(folder / name), epochs=epochs, batch_size=8)
    train(Recipe(name, task, Data(str(folder / file)), Recurrent(**settings), Optim(learning_rate=0.05), where))
    return str(folder / name)
