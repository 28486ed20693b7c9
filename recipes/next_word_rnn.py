"""Trains a plain RNN language model on movie reviews, which predicts the next word from the last few words.

The trained model also generates text:

    python recipes/next_word_rnn.py
    echo "the film is" | finetune predict runs/next-word-rnn --generate 20
"""

from pipeline import Data, Optim, Recipe, Recurrent, Train, main

recipe = Recipe(
    name="next-word-rnn",
    task="next_word",
    data=Data(source="sample:rotten_tomatoes", tokenizer="whitespace", max_length=35, min_frequency=2),
    model=Recurrent(
        cell="rnn", hidden_size=200, embedding_size=200, dropout=0.4, embedding_dropout=0.4, tie_embeddings=True
    ),
    optim=Optim(learning_rate=3e-3, schedule="cosine", warmup_ratio=0.02, weight_decay=0.0),
    train=Train(epochs=10, batch_size=32, precision="auto"),
)

if __name__ == "__main__":
    main(recipe)
