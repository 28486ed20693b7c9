"""Trains a GRU language model on movie reviews; a GRU has 25% fewer recurrent weights than an LSTM.

Run it:

    python recipes/next_word_gru.py
"""

from dataclasses import replace

from next_word_rnn import recipe as rnn

from pipeline import main

recipe = replace(rnn, name="next-word-gru", model=replace(rnn.model, cell="gru"))

if __name__ == "__main__":
    main(recipe)
