"""The `finetune` command.

`main` runs the command that was asked for and turns its outcome into an exit code. Each command is a module named after
it (`run`, `evaluate`, `predict`, `export`, `serve`, `demo`, `compare`, `study`, `search`, `push`, `fetch`, `doctor`)
with a function `command`. `arguments` holds what several of them need; `answers` writes what `predict` finds. A command
first refuses mistakes, and only then imports torch and transformers, which takes seconds: inside
`startup.importing()`, which also silences these libraries (`quiet`). The library itself never does that:
`pipeline.train` in a notebook leaves the caller's logging, warnings and progress bars alone.
"""
