"""Knowledge distillation: a model learns from the answers of a better and slower one.

`unlabelled` reads texts for the teacher to answer, which `sentences` cuts, and `augment` makes them from the training
rows where there are none. `drawing` leaves out what is repeated or scored, and draws from what is left.
"""
