"""Translates messages of a program from English to German with an LSTM that has to remember the whole text.

The encoder hands its last state to the decoder and nothing else, as in Sutskever et al. (2014):

    python recipes/translate_lstm.py

Any other language of the sample will do, and the other direction:

    python recipes/translate_lstm.py --data.source sample:plone_he --data.target-column en
"""

from pipeline import Data, Optim, Recipe, Recurrent, Train, main

recipe = Recipe(
    name="translate-lstm",
    task="translation",
    data=Data(source="sample:plone_de", max_length=64, vocab_size=4000),
    model=Recurrent(
        cell="lstm", bidirectional=True, hidden_size=256, embedding_size=256, attention="none", tie_embeddings=True
    ),
    optim=Optim(learning_rate=2e-3),
    train=Train(epochs=30, batch_size=32, label_smoothing=0.1, eval_every=200, patience=None),
)

if __name__ == "__main__":
    main(recipe)
