"""Starts an LSTM classifier of Rotten Tomatoes from a language model of IMDB reviews, as in Howard & Ruder 2018.

Its layers learn the more slowly, the lower they are. Run recipes/next_word_imdb.py first, which leaves the model:

    python recipes/sentiment_ulmfit.py
"""

from next_word_imdb import recipe as language_model

from pipeline import Data, Optim, Pretrained, Recipe, Train, main

recipe = Recipe(
    name="sentiment-ulmfit",
    task="sentiment",
    data=Data(source="sample:rotten_tomatoes", max_length=128),
    model=Pretrained(
        checkpoint=str(language_model.folder / "model"), pooling="concat", dropout=0.5, embedding_dropout=0.5
    ),
    optim=Optim(learning_rate=4e-3, layer_decay=0.6),
    train=Train(epochs=8, batch_size=32),
)

if __name__ == "__main__":
    main(recipe)
