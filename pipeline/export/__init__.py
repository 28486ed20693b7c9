"""Runs as ONNX graphs that answer without torch.

- `folder` makes the folder of an export: a graph, what it needs, and what was checked; it is renamed into place last.
- `recurrent/` builds the graphs of recurrent models; `transformer` records those of all others, and
  `transformer_seq2seq` the two of an encoder-decoder; `quantize` makes weights int8.
- `checks` compares an export with its model: `probes` tries batches of all shapes, `exact` computes the logits to
  expect, `comparison` says how far logits and answers are apart, and `validation_rows` are what both are scored on.
  `latency` measures both, `exported` holds what was found, and `card` shows it.
- `runner_settings` writes what a graph does not say into export.json, and `search_settings` how translations are
  searched for. `runner` and `handler` are programs that travel with the graph and import nothing of this package;
  `runner` loads `word_cutting` for taggers, and `translator`.
- `pushing` makes the export that `finetune push --with-onnx` pushes.
"""
