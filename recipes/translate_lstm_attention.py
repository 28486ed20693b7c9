"""Translates messages with an LSTM that attends to the words of the text, with the attention of Luong et al. (2015).

Attention is all that differs from translate_lstm, so the difference between both is what it is worth:

    python recipes/translate_lstm_attention.py
    finetune compare runs/translate-lstm runs/translate-lstm-attention
"""

from dataclasses import replace

from translate_lstm import recipe as lstm

from pipeline import main

recipe = replace(lstm, name="translate-lstm-attention", model=replace(lstm.model, attention="multiplicative"))

if __name__ == "__main__":
    main(recipe)
