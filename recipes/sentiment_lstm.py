"""Trains an LSTM on Rotten Tomatoes and classifies its last state, to show what gates add to a plain RNN.

Run it:

    python recipes/sentiment_lstm.py
"""

from dataclasses import replace

from sentiment_rnn import recipe as rnn

from pipeline import main

recipe = replace(rnn, name="sentiment-lstm", model=replace(rnn.model, cell="lstm"))

if __name__ == "__main__":
    main(recipe)
