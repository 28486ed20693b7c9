"""Compares RNN, LSTM and GRU in one and two directions on Rotten Tomatoes, each with three seeds and as many updates.

Run it, two runs at a time:

    finetune study recipes/studies/cells.py --processes 2
"""

from pipeline import Budget, Data, Optim, Recipe, Recurrent, Study, Train

recipe = Recipe(
    name="cells",
    task="sentiment",
    data=Data(source="sample:rotten_tomatoes", max_length=64),
    model=Recurrent(hidden_size=64, pooling="max"),
    optim=Optim(learning_rate=2e-3),
    train=Train(batch_size=32),
)

study = Study(
    name="cells",
    recipes=[recipe],
    grid={"model.cell": ["rnn", "lstm", "gru"], "model.bidirectional": [False, True]},
    seeds=[0, 1, 2],
    budget=Budget(updates=600),
)
