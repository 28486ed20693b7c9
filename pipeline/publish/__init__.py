"""Uploads to the Hub: the model card, the checks before a push, and the push.

A push, from a run folder to a commit, has these steps:

1. `push` opens the finished run and connects to the Hub.
2. `staging` copies the files of the model into a temporary folder, with recipe and metrics stripped of local paths
   (`redact`) and a model card (`card`, made from `card_data`, with code from `snippets`).
   `onnx_folder` puts an export in a folder of its own beside them, if one is pushed.
3. `secrets` refuses tokens, names and paths in any of these files.
4. `verify` loads the staged model in a clean process without this package, and compares its outputs with those that
   the run has recorded (`reference_outputs`).
5. `upload` creates repository, branch and tag where they are missing, and commits the files that differ.
"""
