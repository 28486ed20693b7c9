"""Rotten Tomatoes with a one-way GRU, read at its last state: three quarters of an LSTM's recurrent weights.

Run it:

    python recipes/sentiment_gru.py
"""

from dataclasses import replace

from sentiment_rnn import recipe as rnn

from pipeline import main

recipe = replace(rnn, name="sentiment-gru", model=replace(rnn.model, cell="gru"))

if __name__ == "__main__":
    main(recipe)
