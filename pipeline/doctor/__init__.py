"""What a recipe will do and cost, and which of its settings are unusual.

`estimate` says what the machine has and what a run costs, with times by `durations`. `teaching` does so for a teacher's
answers, which `labelling` times. `rules` finds unusual settings.
"""
