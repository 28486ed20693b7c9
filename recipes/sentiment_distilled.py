"""Teaches a bidirectional LSTM what BERT says about sentences of film reviews, as in Tang et al. 2019.

The teacher is the run of recipes/sentiment_bert.py, which is trained first if it has not finished:

    python recipes/sentiment_distilled.py
"""

from dataclasses import replace

from sentiment_bilstm import recipe as alone

from pipeline import Data, Distil, main

recipe = replace(
    alone,
    name="sentiment-distilled",
    model=replace(alone.model, dropout=0.3, embedding_dropout=0.3),
    train=replace(alone.train, epochs=3),
    distil=Distil(teacher="recipes/sentiment_bert.py", unlabelled=Data(source="sample:imdb_text")),
)

if __name__ == "__main__":
    main(recipe)
