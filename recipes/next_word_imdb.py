"""Trains an LSTM language model on whole IMDB reviews, which recipes/sentiment_ulmfit.py starts from.

Its tokens are pieces of words in lower case, so that it also reads reviews that are written in another way:

    python recipes/next_word_imdb.py
"""

from pipeline import Data, Optim, Recipe, Recurrent, Train, main

recipe = Recipe(
    name="next-word-imdb",
    task="next_word",
    data=Data(
        source="sample:imdb_text",
        tokenizer="bpe",
        vocab_size=4000,
        lowercase=True,
        max_length=70,
        validation_share=0.02,
        test_share=0.02,
    ),
    model=Recurrent(
        cell="lstm", hidden_size=400, embedding_size=200, dropout=0.1, embedding_dropout=0.1, tie_embeddings=True
    ),
    optim=Optim(learning_rate=3e-3, schedule="cosine", warmup_ratio=0.02, weight_decay=0.0),
    train=Train(epochs=1, batch_size=16, eval_every=2000, precision="auto"),
)

if __name__ == "__main__":
    main(recipe)
