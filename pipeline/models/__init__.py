"""Models: the recurrent family, and everything needed to build or load the model that a recipe asks for.

- `build.py` turns the model settings of a recipe into a model; it is the entry point for training.
- `recurrent_config.py` turns such settings into the configuration of a recurrent model.
- `transformers_from_scratch.py` has the configurations of transformers that are not pretrained.
- `checkpoints.py` loads a checkpoint from a folder or the Hub; it is the entry point for a saved model.
- `adapters.py` adds LoRA adapters and loads saved ones; `adapter_targets.py` says which weights they adapt.
- `embeddings.py` reads pretrained word vectors; `layers.py` says how deep each parameter is, to freeze layers or lower
  their learning rates.
- `exported.py` runs an exported graph in place of a model, and `exported_seq2seq.py` the two of an encoder-decoder.
- `cpu_functions.py` lets transformers on a CPU use faster functions than torch's; `cpu_attention.py` has one of them.
- `modes.py` puts a model into another mode for the length of a block, such as evaluation.
- `recurrent/` holds the models of this project. It is saved with each of them and does not depend on the rest.
"""
