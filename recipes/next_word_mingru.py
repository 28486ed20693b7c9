"""Trains a minGRU language model on movie reviews, with a short convolution in front of each layer.

Run it:

    python recipes/next_word_mingru.py
"""

from dataclasses import replace

from next_word_rnn import recipe as rnn

from pipeline import main

recipe = replace(rnn, name="next-word-mingru", model=replace(rnn.model, cell="mingru", conv_kernel=4))

if __name__ == "__main__":
    main(recipe)
