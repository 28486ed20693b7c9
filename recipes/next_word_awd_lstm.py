"""Trains the AWD-LSTM language model of Merity et al. 2017, with dropout on weights, words and states.

To train on a larger corpus, pass a folder of .txt files:

    python recipes/next_word_awd_lstm.py
    python recipes/next_word_awd_lstm.py --data.source my/wikitext --model.hidden-size 650
"""

from dataclasses import replace

from next_word_rnn import recipe as rnn

from pipeline import main

recipe = replace(
    rnn,
    name="next-word-awd-lstm",
    data=replace(rnn.data, max_length=70),
    model=replace(
        rnn.model,
        cell="lstm",
        layers=2,
        variational_dropout=True,
        dropout=0.3,
        output_dropout=0.4,
        word_dropout=0.1,
        weight_dropout=0.5,
    ),
    train=replace(rnn.train, epochs=20),
)

if __name__ == "__main__":
    main(recipe)
