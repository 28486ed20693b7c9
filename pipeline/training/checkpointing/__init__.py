"""Checkpoints: what resuming needs, and how it is written.

`checkpoint` saves, chooses and loads them. It is built on `serialization` (nested state in a safetensors file),
`run_progress` (counts and the best score) and `writer` (a thread that writes during training).
"""
