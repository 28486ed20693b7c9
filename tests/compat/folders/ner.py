"""A bidirectional GRU with a CRF and characters, two batches to an update."""

from pipeline import Data, Optim, Recipe, Recurrent, Train

recipe = Recipe(
    name="ner",
    task="ner",
    data=Data(source="data/names", max_length=32, min_frequency=1, scheme="bioes"),
    model=Recurrent(cell="gru", bidirectional=True, hidden_size=6, embedding_size=6, crf=True, char_encoder="cnn"),
    optim=Optim(learning_rate=1e-2, schedule="cosine"),
    train=Train(epochs=5, batch_size=4, accumulation=2, log_every=5, eval_every=40, save_every=7),
)
