"""Finds named entities in tweets with a BiLSTM-CRF and a character CNN (Ma & Hovy 2016).

Other texts have other names and numbers, so a tenth of the words is read as unknown in training, and each digit as 0.
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
    data=replace(bilstm.data, scheme="bioes", zero_digits=True),
    model=replace(bilstm.model, crf=True, char_encoder="cnn", unknown_dropout=0.1),
)

if __name__ == "__main__":
    main(recipe)
