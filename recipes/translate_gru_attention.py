"""Translates messages with a GRU and the attention of Bahdanau et al. (2015).

Run it:

    python recipes/translate_gru_attention.py
"""

from dataclasses import replace

from translate_lstm import recipe as lstm

from pipeline import main

recipe = replace(lstm, name="translate-gru-attention", model=replace(lstm.model, cell="gru", attention="additive"))

if __name__ == "__main__":
    main(recipe)
