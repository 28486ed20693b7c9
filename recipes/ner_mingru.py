"""Finds named entities in tweets with a bidirectional minGRU, with as many recurrent weights as a BiGRU of 128.

A short convolution in front of the layer lets its gates read the words before:

    python recipes/ner_mingru.py
"""

from dataclasses import replace

from ner_bilstm import recipe as bilstm

from pipeline import main

recipe = replace(bilstm, name="ner-mingru", model=replace(bilstm.model, cell="mingru", hidden_size=384, conv_kernel=3))

if __name__ == "__main__":
    main(recipe)
