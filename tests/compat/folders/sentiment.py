"""A bidirectional LSTM with attention on the texts that make_folders.py has written."""

from pipeline import Data, Optim, Recipe, Recurrent, Train

recipe = Recipe(
    name="sentiment",
    task="sentiment",
    data=Data(source="data/reviews", max_length=32),
    model=Recurrent(
        cell="lstm", bidirectional=True, hidden_size=6, embedding_size=6, pooling="attention", word_dropout=0.1
    ),
    optim=Optim(learning_rate=2e-2),
    train=Train(epochs=5, batch_size=8, log_every=5),
)
