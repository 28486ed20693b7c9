"""Trains a plain RNN on Rotten Tomatoes and classifies its last state, which tends to forget the first words.

Run it:

    python recipes/sentiment_rnn.py
"""

from pipeline import Data, Optim, Recipe, Recurrent, Train, main

recipe = Recipe(
    name="sentiment-rnn",
    task="sentiment",
    data=Data(source="sample:rotten_tomatoes", max_length=128),
    model=Recurrent(cell="rnn", hidden_size=128, pooling="last", dropout=0.5, embedding_dropout=0.5),
    optim=Optim(learning_rate=1e-3),
    train=Train(epochs=8, batch_size=32),
)

if __name__ == "__main__":
    main(recipe)
