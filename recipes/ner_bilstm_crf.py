"""Entities in tweets with a BiLSTM-CRF that reads the characters of each word, too (Ma & Hovy 2016).

Run it, or as published, on CoNLL-2003 from word vectors:

    python recipes/ner_bilstm_crf.py
    python recipes/ner_bilstm_crf.py --data.source conll2003 --model.vectors sample:glove-6b-50d
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
