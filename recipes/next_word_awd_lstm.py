"""Trains an AWD-LSTM language model (Merity et al. 2017), narrower than the paper's, as the sample is small.

For the Penn Treebank, see recipes/README.md; other corpora, as folders of .txt files:

    python recipes/next_word_awd_lstm.py
    python recipes/next_word_awd_lstm.py --data.source my/wikitext --model.layers 3 --model.inner-hidden-size 1150
"""

from dataclasses import replace

from next_word_rnn import recipe as rnn

from pipeline import main

model = replace(
    rnn.model,
    cell="lstm",
    layers=2,
    inner_hidden_size=300,
    variational_dropout=True,
    dropout=0.25,
    output_dropout=0.4,
    word_dropout=0.1,
    weight_dropout=0.5,
    activation_regularization=2.0,
    temporal_regularization=1.0,
)
optim = replace(rnn.optim, schedule="constant", average="nt-asgd")
train = replace(rnn.train, epochs=16, batch_size=16, patience=6)
recipe = replace(rnn, name="next-word-awd-lstm", model=model, optim=optim, train=train)

if __name__ == "__main__":
    main(recipe)
