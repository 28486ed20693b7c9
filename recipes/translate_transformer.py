"""Translates messages with a small transformer of Vaswani et al. (2017), trained from scratch.

Run it:

    python recipes/translate_transformer.py
"""

from dataclasses import replace

from translate_lstm import recipe as lstm

from pipeline import Optim, Scratch, main

recipe = replace(
    lstm,
    name="translate-transformer",
    model=Scratch(architecture="bart", hidden_size=256, layers=2, heads=4, dropout=0.3),
    optim=Optim(learning_rate=1e-3),
)

if __name__ == "__main__":
    main(recipe)
