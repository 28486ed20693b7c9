"""Trains a bidirectional minGRU on Rotten Tomatoes, with as many recurrent weights as a GRU of 128 units.

Its gates read the words alone, not the state (Feng et al. 2024):

    python recipes/sentiment_mingru.py
"""

from dataclasses import replace

from sentiment_bilstm import recipe as bilstm

from pipeline import main

recipe = replace(bilstm, name="sentiment-mingru", model=replace(bilstm.model, cell="mingru", hidden_size=384))

if __name__ == "__main__":
    main(recipe)
