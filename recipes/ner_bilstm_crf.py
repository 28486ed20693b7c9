"""Finds named entities in tweets with a BiLSTM-CRF and a character CNN (Ma & Hovy 2016).

To train on CoNLL-2003, pass a folder of column files:

    python recipes/ner_bilstm_crf.py
    python recipes/ner_bilstm_crf.py --data.source my/conll2003
"""

from dataclasses import replace

from ner_bilstm import recipe as bilstm

from pipeline import main

recipe = replace(
    bilstm,
    name="ner-bilstm-crf",
    data=replace(bilstm.data, scheme="bioes"),
    model=replace(bilstm.model, crf=True, char_encoder="cnn"),
)

if __name__ == "__main__":
    main(recipe)
