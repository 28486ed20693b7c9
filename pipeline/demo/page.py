"""The page of a demo, made with gradio: a field for a text, and a card for each model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.compare.page.html import tag
from pipeline.demo import views
from pipeline.demo.contenders import Contender
from pipeline.errors import UserError

# Longer texts are cut in the browser, and refused if they come from elsewhere.
MAX_LENGTH = 20_000
# Fonts of the visitor's system: others would be fetched from another server.
FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Helvetica Neue", "Arial", "sans-serif")


def build(contenders: Sequence[Contender]) -> gr.Blocks:
    """The page on which `contenders` answer."""
    names = [contender.name for contender in contenders]
    has_pairs = bool(contenders[0].task.reads_pairs)

    def answer(*texts: str) -> Iterator[str]:
        """The cards, again after each answer."""
        _check(texts)
        content = texts if has_pairs else texts[0]
        found: dict[str, Any] = dict.fromkeys(names)
        for contender in contenders:
            try:
                found[contender.name] = contender.answer(content)
            except UserError as error:
                raise _refusal(str(error)) from error
            yield views.cards(found)

    with gr.Blocks(title=", ".join(names), analytics_enabled=False) as demo:
        gr.HTML(tag("h1", f"One text, {len(names)} model{'s' * (len(names) > 1)}"))
        fields = [gr.Textbox(label=label, lines=3, max_length=MAX_LENGTH) for label in _labels(has_pairs)]
        button = gr.Button("Answer", variant="primary")
        shown = gr.HTML(views.cards({}), elem_id="answers")
        # One text at a time: the models share the cores, and the time of each is shown.
        # It is private because programs have `finetune serve`, which reads several texts at once.
        events = [button.click, fields[-1].submit]
        gr.on(events, answer, fields, shown, concurrency_limit=1, api_name="answer", api_visibility="private")
    return demo


def _check(texts: Sequence[Any]) -> None:
    """Refuse what the fields of the page would not have sent: anyone can send a request without a browser.

    Raises:
        gr.Error: a text is too long, or none.
    """
    for text in texts:
        if not isinstance(text, str):
            raise _refusal("this is no text; write one into the field")
        if len(text) > MAX_LENGTH:
            raise _refusal(f"{len(text):,} characters are too many; write at most {MAX_LENGTH:,}")


def _refusal(message: str) -> gr.Error:
    return gr.Error(message, print_exception=False)  # it is the visitor's mistake, and no bug for the terminal


def _labels(has_pairs: bool) -> tuple[str, ...]:
    return ("First text", "Second text") if has_pairs else ("Text",)


def launch(demo: gr.Blocks, **options: Any) -> gr.Blocks:
    """Serve the page, with our style.

    Args:
        options: of gradio's `launch`, such as server_name and server_port.
    """
    style = Path(__file__).with_name("demo.css").read_text(encoding="utf-8")
    theme = gr.themes.Default(primary_hue="blue", font=FONT, font_mono=("ui-monospace", "Consolas", "monospace"))
    demo.launch(theme=theme, css=style, footer_links=[], ssr_mode=False, **options)
    return demo
