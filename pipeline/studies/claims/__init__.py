"""What a course says about recurrent networks and transformers, measured: the parts of recipes/studies/course.py.

`gradients` follows a gradient back through time, `recall` writes the data of the memory task and counts what is
remembered, `timing` measures seconds per token in a process of its own, and `measure` makes figures of finished runs.
`rules` turns figures into statements that hold or do not (`statements`), `drawing` draws them, `sections` puts both
together for each claim, and `chapter` writes them in Markdown and HTML.
"""
