"""Adds pretrained GloVe vectors to the BiLSTM-CRF with a character CNN, as in Ma & Hovy 2016.

The vectors are frozen, so the model reads words and numbers that are not in the training data as well as those that
are, and hardly any are unknown. To train on CoNLL-2003, pass a folder of column files:

    python recipes/ner_glove.py
    python recipes/ner_glove.py --data.source my/conll2003 --train.epochs 8
"""

from dataclasses import replace

from ner_bilstm_crf import recipe as bilstm_crf

from pipeline import main

recipe = replace(
    bilstm_crf,
    name="ner-glove",
    data=replace(bilstm_crf.data, zero_digits=None),
    model=replace(
        bilstm_crf.model,
        vectors="sample:glove-6b-50d",
        freeze_vectors=True,
        unknown_dropout=0.0,
        dropout=0.3,
        embedding_dropout=0.2,
    ),
)

if __name__ == "__main__":
    main(recipe)
