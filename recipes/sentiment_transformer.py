"""Trains a small BERT from scratch on Rotten Tomatoes, to show what attention does without pretraining.

Run it:

    python recipes/sentiment_transformer.py
"""

from pipeline import Data, Optim, Recipe, Scratch, Train, main

recipe = Recipe(
    name="sentiment-transformer",
    task="sentiment",
    data=Data(source="sample:rotten_tomatoes", max_length=128, tokenizer="word"),
    model=Scratch(architecture="bert", hidden_size=128, layers=2, heads=4, dropout=0.3),
    optim=Optim(learning_rate=5e-4),
    train=Train(epochs=8, batch_size=32),
)

if __name__ == "__main__":
    main(recipe)
