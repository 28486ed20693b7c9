"""An LSTM that predicts words and carries its state over the whole text."""

from pipeline import Data, Optim, Recipe, Recurrent, Train

recipe = Recipe(
    name="next-word",
    task="next_word",
    data=Data(source="data/story", tokenizer="whitespace", max_length=12),
    model=Recurrent(
        hidden_size=8,
        embedding_size=8,
        layers=2,
        dropout=0.1,
        embedding_dropout=0.1,
        tie_embeddings=True,
        variational_dropout=True,
        weight_dropout=0.1,
    ),
    optim=Optim(learning_rate=3e-2, weight_decay=0.0),
    train=Train(epochs=4, batch_size=8, log_every=5, eval_every=30),
)
