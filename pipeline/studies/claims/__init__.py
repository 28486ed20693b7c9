"""What a course says about recurrent networks and transformers, measured: the parts of recipes/studies/course.py.

`gradients` follows a gradient back through time, `recall` writes the data of the memory task and counts what is
remembered, `timing` measures seconds per token in a process of its own. `statements` turns figures into statements that
hold or do not, by the rules in `rules`; `drawing` draws them, and `chapter` writes the page in Markdown and HTML.
"""
