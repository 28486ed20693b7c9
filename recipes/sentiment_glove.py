"""Trains a two-layer bidirectional LSTM on Rotten Tomatoes, starting from 50-dimensional GloVe vectors.

It also reads vectors of your own:

    python recipes/sentiment_glove.py
    python recipes/sentiment_glove.py --model.vectors glove.6B.300d.txt
"""

from dataclasses import replace

from sentiment_bilstm import recipe as bilstm

from pipeline import main

recipe = replace(
    bilstm,
    name="sentiment-glove",
    model=replace(bilstm.model, layers=2, embedding_dropout=0.3, vectors="sample:glove-6b-50d"),
)

if __name__ == "__main__":
    main(recipe)
