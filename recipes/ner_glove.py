"""Entities with a BiLSTM, a CRF, a character CNN and word vectors: the tagger of Ma & Hovy 2016.

The vectors stay as they are, so that words which no training text holds are read as well as those which some do. Run
it, or on CoNLL-2003 as a folder of column files:

    python recipes/ner_glove.py
    python recipes/ner_glove.py --data.source my/conll2003 --train.epochs 8
"""

from dataclasses import replace

from ner_bilstm_crf import recipe as bilstm_crf

from pipeline import main

recipe = replace(
    bilstm_crf,
    name="ner-glove",
    model=replace(
        bilstm_crf.model,
        vectors="sample:glove-6b-50d",
        freeze_vectors=True,
        dropout=0.3,
        embedding_dropout=0.2,
    ),
)

if __name__ == "__main__":
    main(recipe)
