"""Training: the loop, the arithmetic of an update, and what both need.

`trainer.fit` is the loop and `step.update` the arithmetic. An update minimises a `loss`, which may be one of the
`divergences` of a student from its teacher, with the optimiser of `optim`, may start from the hidden states of the
previous one (`hidden_state`), synchronises gradients through `distributed`, and leaves out layers that are still frozen
(`unfreezing`). A run may score and keep an average of the weights (`averaging`), and ends when its `budget` is spent.
Between updates, `fit` scores the validation split (`evaluation`), keeps the best weights by one of the scores
(`selection`), reports (`monitoring`), saves (`checkpointing`) and stops when a signal asks for it (`signals`).
`batch_size_finder` measures micro-batches before the run, and `answering_speed` the model after it; `hardware` and
`seeding` deal with the device and the random generators.
"""
