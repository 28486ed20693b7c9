"""Trains a bidirectional LSTM from scratch on whole IMDB reviews, about 270 tokens each.

It reads up to 800 tokens of a review. Where rows must be shorter, it reads them in windows:

    python recipes/sentiment_imdb.py
    python recipes/sentiment_imdb.py --data.max-length 256 --data.long-texts windows
"""

from dataclasses import replace

from sentiment_bilstm import recipe as bilstm

from pipeline import Data, main

recipe = replace(
    bilstm,
    name="sentiment-imdb",
    data=Data(source="sample:imdb", max_length=800),
    model=replace(bilstm.model, pooling="concat", unknown_dropout=0.25),
    optim=replace(bilstm.optim, average="ema"),
    train=replace(bilstm.train, epochs=3, precision="auto"),
)

if __name__ == "__main__":
    main(recipe)
