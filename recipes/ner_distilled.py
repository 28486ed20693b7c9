"""Teaches a BiLSTM-CRF of words what BERT says about tweets.

The teacher is the run of recipes/ner_bert.py, which is trained first if it has not finished:

    python recipes/ner_distilled.py
"""

from dataclasses import replace

from ner_bilstm_crf import recipe as alone

from pipeline import Distil, main

recipe = replace(
    alone,
    name="ner-distilled",
    distil=Distil(teacher="recipes/ner_bert.py", augment="mask"),
)

if __name__ == "__main__":
    main(recipe)
