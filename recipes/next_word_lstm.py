"""Trains an LSTM language model whose state is carried through the whole text, in training and evaluation.

To train on a corpus whose tokens are separated by spaces, such as the Penn Treebank, pass a folder of .txt files:

    python recipes/next_word_lstm.py
    python recipes/next_word_lstm.py --data.source my/ptb --train.epochs 15
"""

from dataclasses import replace

from next_word_rnn import recipe as rnn

from pipeline import main

recipe = replace(rnn, name="next-word-lstm", model=replace(rnn.model, cell="lstm"))

if __name__ == "__main__":
    main(recipe)
