"""A page on which one text is answered by several models side by side.

`contenders` loads the models and takes the time of their answers, `views` shows answers as HTML in the style of
demo.css, and `page` is the page, made with gradio. `space` pushes it to the Hub as a Space, and `space_files` writes
the files of that.
"""
