"""Rotten Tomatoes with a bidirectional LSTM from scratch: the baseline that BERT has to beat.

Run it, or start it from word vectors:

    python recipes/sentiment_bilstm.py
    python recipes/sentiment_bilstm.py --model.vectors sample:glove-6b-50d --train.output-dir runs/glove
"""

from pipeline import Data, Optim, Recipe, Recurrent, Train, main

recipe = Recipe(
    name="sentiment-bilstm",
    task="sentiment",
    data=Data(source="sample:rotten_tomatoes", max_length=128),
    model=Recurrent(
        cell="lstm", bidirectional=True, hidden_size=128, layers=2, pooling="max", dropout=0.5, embedding_dropout=0.3
    ),
    optim=Optim(learning_rate=2e-3),
    train=Train(epochs=5, batch_size=32),
)

if __name__ == "__main__":
    main(recipe)
