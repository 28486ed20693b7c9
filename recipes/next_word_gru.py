"""The next word of film reviews with a GRU: three quarters of an LSTM's recurrent weights.

Run it:

    python recipes/next_word_gru.py
"""

from dataclasses import replace

from next_word_rnn import recipe as rnn

from pipeline import main

recipe = replace(rnn, name="next-word-gru", model=replace(rnn.model, cell="gru"))

if __name__ == "__main__":
    main(recipe)
