"""Knowledge distillation: a model learns from the answers of a better and slower one (Hinton et al. 2015).

`teacher` trains the teacher if it has to, finds it, loads it and looks up its scores. `answers` lets it answer texts,
on all processes, and keeps what it says on disk, so that students and seeds share it. `rows` puts the answers beside
the rows that the student is trained on.
"""
