"""`finetune demo`: a page on which several models answer the same text, here or as a Space of the Hub."""

from __future__ import annotations

import importlib.util
import json
import os
import threading
from pathlib import Path
from typing import Annotated

import tyro

from pipeline import run_folder
from pipeline.cli import arguments, startup
from pipeline.cli.arguments import Arguments
from pipeline.config.hub import HUB_ID, is_repo_id
from pipeline.config.schema import Port
from pipeline.errors import UserError, shorten
from pipeline.serving import address

PACKAGE = "gradio"


def _demo(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN ...")],
    host: str = "127.0.0.1",
    port: Port = 7860,
    push: Annotated[str | None, tyro.conf.arg(metavar="USER/SPACE")] = None,
    private: bool = False,
    overwrite: bool = False,
) -> None:
    """Show a page in the browser on which all models answer the same text, with their scores and the time they take.

    Example: finetune demo runs/sentiment-bilstm runs/sentiment-bert

    Args:
        runs: folders of runs, models or exports, or Hub ids.
        host: address to listen on; with 0.0.0.0, other machines see the page, too.
        port: port to listen on; 0 is any free one.
        push: make this Space of the page instead of showing it here.
        private: create a private Space.
        overwrite: push to a Space that finetune has not made.
    """
    if not runs:
        raise UserError("finetune demo: name at least one run")
    if push is None and (private or overwrite):
        raise UserError(f"--{'private' if private else 'overwrite'}: it has no effect without --push USER/SPACE")
    if push is not None and not (is_repo_id(push) and HUB_ID.fullmatch(push)):
        raise UserError(f"push: {shorten(push, 80)} is not the name of a Space; use user/name or organization/name")
    if importlib.util.find_spec(PACKAGE) is None:
        raise UserError(f"finetune demo: {PACKAGE} is not installed; pip install 'finetune-pipeline[demo]'")
    _check(runs)
    if push is None:
        _show(runs, host, port)
        return
    with startup.importing():
        from pipeline.demo import space

    space.push(push, runs, private, overwrite)


def _check(runs: tuple[str, ...]) -> None:
    """Refuse what is no model, and runs of different tasks as far as their recipes tell, before anything is imported.

    Raises:
        UserError: as above.
    """
    tasks: dict[str, str] = {}
    for name in runs:
        arguments.check_model(name, None, False, "revision")
        recipe = Path(run_folder.model_in(name)) / run_folder.RECIPE
        if recipe.is_file():
            tasks[name] = json.loads(recipe.read_text(encoding="utf-8")).get("task", "")
    for name, task in tasks.items():
        first = next(iter(tasks))
        if task != tasks[first]:
            found = f"{first} is for {tasks[first]}, but {name} is for {task}"
            raise UserError(f"runs: {found}; a demo compares answers to one question")


def _show(runs: tuple[str, ...], host: str, port: int) -> None:
    with address.bind(host, port) as free:  # gradio would look for another port
        host, port = free.getsockname()[:2]
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    with startup.importing():
        from pipeline.demo import contenders, page

    demo = page.build(contenders.load(runs))
    page.launch(demo, server_name=host, server_port=port, quiet=True, share=False, prevent_thread_lock=True)
    print(f"the page is at {address.url(host, port)}; Ctrl-C stops it", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:  # the usual way to stop it
        pass
    finally:
        demo.close(verbose=False)


def command(given: Arguments) -> None:
    arguments.call(_demo, given, "finetune demo")
