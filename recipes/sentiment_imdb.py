"""Trains a bidirectional LSTM from scratch on whole IMDB reviews, about 230 words each.

Of long reviews it reads the beginning, or the end:

    python recipes/sentiment_imdb.py
    python recipes/sentiment_imdb.py --data.long-texts tail
"""

from dataclasses import replace

from sentiment_bilstm import recipe as bilstm

from pipeline import Data, main

recipe = replace(
    bilstm,
    name="sentiment-imdb",
    data=Data(source="sample:imdb", max_length=400),
    model=replace(bilstm.model, embedding_dropout=0.3),
    train=replace(bilstm.train, epochs=3, precision="auto"),
)

if __name__ == "__main__":
    main(recipe)
