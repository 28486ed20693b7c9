"""Teaches a small GRU what the LSTM of translate_lstm_attention writes (sequence-level distillation, Kim & Rush 2016).

The teacher is the run of recipes/translate_lstm_attention.py, which is trained first if it has not finished:

    python recipes/translate_distilled.py
"""

from dataclasses import replace

from translate_gru_attention import recipe as alone

from pipeline import Distil, main

recipe = replace(
    alone,
    name="translate-distilled",
    model=replace(alone.model, hidden_size=128, embedding_size=128),
    distil=Distil(teacher="recipes/translate_lstm_attention.py"),
)

if __name__ == "__main__":
    main(recipe)
