"""Teaches a bidirectional LSTM of words what BERT says about tweets, beside their labels.

The teacher is the run of recipes/ner_bert.py, which is trained first if it has not finished. If you have tweets without
labels, let it answer them, too (distil.unlabelled), and lower the share of the labels:

    python recipes/ner_distilled.py
"""

from dataclasses import replace

from ner_bilstm import recipe as alone

from pipeline import Distil, main

recipe = replace(
    alone,
    name="ner-distilled",
    distil=Distil(teacher="recipes/ner_bert.py", hard_share=0.8),
)

if __name__ == "__main__":
    main(recipe)
