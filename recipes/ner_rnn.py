"""Finds named entities in tweets with a plain left-to-right RNN, which tags each word before it sees the next ones.

Run it:

    python recipes/ner_rnn.py
"""

from dataclasses import replace

from ner_bilstm import recipe as bilstm

from pipeline import Optim, main

recipe = replace(
    bilstm,
    name="ner-rnn",
    model=replace(bilstm.model, cell="rnn", bidirectional=False),
    optim=Optim(learning_rate=1e-3),
)

if __name__ == "__main__":
    main(recipe)
