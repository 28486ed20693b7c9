"""Compares translation without attention, with two kinds of it, and by a transformer, each with three seeds.

Run it, two runs at a time:

    finetune study recipes/studies/translation.py --processes 2
"""

from pipeline import Study

study = Study(
    name="translation",
    recipes=[
        "recipes/translate_lstm.py",
        "recipes/translate_lstm_attention.py",
        "recipes/translate_gru_attention.py",
        "recipes/translate_transformer.py",
    ],
    seeds=[0, 1, 2],
)
