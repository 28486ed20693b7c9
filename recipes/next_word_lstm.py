"""The next word of film reviews with an LSTM: the state is carried over the whole text, in training and in scoring.

Run it, or on a corpus whose words stand between blanks, such as the Penn Treebank as a folder of .txt files:

    python recipes/next_word_lstm.py
    python recipes/next_word_lstm.py --data.source my/ptb --train.epochs 15
"""

from dataclasses import replace

from next_word_rnn import recipe as rnn

from pipeline import main

recipe = replace(rnn, name="next-word-lstm", model=replace(rnn.model, cell="lstm"))

if __name__ == "__main__":
    main(recipe)
