"""Trains a bidirectional LSTM from scratch on Rotten Tomatoes, as the baseline that BERT must beat.

Run it:

    python recipes/sentiment_bilstm.py
"""

from pipeline import Data, Optim, Recipe, Recurrent, Train, main

recipe = Recipe(
    name="sentiment-bilstm",
    task="sentiment",
    data=Data(source="sample:rotten_tomatoes", max_length=128),
    model=Recurrent(
        cell="lstm", bidirectional=True, hidden_size=128, pooling="max", dropout=0.5, embedding_dropout=0.5
    ),
    optim=Optim(learning_rate=2e-3),
    train=Train(epochs=5, batch_size=32),
)

if __name__ == "__main__":
    main(recipe)
