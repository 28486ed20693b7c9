"""Finds named entities in tweets with a bidirectional GRU-CRF, which has 25% fewer recurrent weights than an LSTM.

Run it:

    python recipes/ner_gru_crf.py
"""

from dataclasses import replace

from ner_bilstm_crf import recipe as bilstm_crf

from pipeline import main

recipe = replace(bilstm_crf, name="ner-gru-crf", model=replace(bilstm_crf.model, cell="gru"))

if __name__ == "__main__":
    main(recipe)
