"""Checkpoints: what resuming needs, and how it is written.

`checkpoint` saves, chooses and loads them. It is built on `serialization` (nested state in a safetensors file),
`run_progress` (how far a run has come) and `writer` (a thread that writes during training).
"""
