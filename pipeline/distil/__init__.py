"""Knowledge distillation: a model learns from the answers of a better and slower one (Hinton et al. 2015).

`unlabelled` reads texts for the teacher to answer, which `sentences` cuts, and `augment` makes them from the training
rows where there are none. `drawing` leaves out what is repeated or scored, and draws from what is left.

`teacher` finishes the teacher's run if it has to, finds the teacher and loads it. `answers` lets it answer texts on all
processes, with a `progress` bar, and keeps what it says on disk, so that students and seeds share it. `rows` puts the
answers beside the rows that the student is trained on, and `scores` says how good the teacher is on the others.
`preparation` does all of this for a run.
"""
