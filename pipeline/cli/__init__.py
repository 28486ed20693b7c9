"""The `finetune` command.

`main` finds the command that was asked for, runs it and turns its outcome into an exit code. Each command is a module
named after it (`run`, `evaluate`, `predict`, `compare`, `push`, `fetch`, `doctor`) with a function `command`, and
`arguments` holds what several of them need. A command refuses mistakes first and imports torch and transformers, which
takes seconds, afterwards: inside `startup.importing()`, which also silences these libraries (`quiet`). The library
itself never does that: `pipeline.train` in a notebook leaves the caller's logging, warnings and progress bars alone.
"""
