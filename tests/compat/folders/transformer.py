"""A BERT from scratch on the texts that make_folders.py has written."""

from dataclasses import replace

from pipeline import Scratch

from sentiment import recipe as sentiment

recipe = replace(
    sentiment,
    name="transformer",
    data=replace(sentiment.data, vocab_size=80),
    model=Scratch(hidden_size=8, layers=1, heads=2),
    train=replace(sentiment.train, epochs=2),
)
