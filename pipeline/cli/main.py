"""The `finetune` command, and `main`, which makes a recipe a script: how both begin, and with which code they end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from pipeline.cli.commands import COMMANDS, stop_on_signals, train
from pipeline.config.loading import loading
from pipeline.config.recipe import Recipe
from pipeline.errors import EXIT_INTERRUPTED, EXIT_LOST, Interrupted, UserError, report, suggest

LOST = (
    "stopped: another process of this run has ended, and has said why if it could; the same command goes on from the"
    " last checkpoint"
)


def main(recipe: Recipe) -> None:
    """Run `recipe`, changed by the flags on the command line; then exit."""
    if loading:
        raise UserError(f"main(recipe) runs while {loading[-1]} is loaded; put it under: if __name__ == '__main__':")
    stop_on_signals()
    sys.exit(_guarded(lambda: train(recipe, sys.argv[1:], Path(sys.argv[0]).name)))


def entry() -> None:
    """The `finetune` command."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(_guarded(lambda: _dispatch(sys.argv[1:])))


def _guarded(action: Callable[[], None]) -> int:
    """The exit code of `action`: 0 done, 2 the user's mistake, 75 stopped by a signal, to be continued, 69 left alone
    by another process of the run, 1 all else."""
    try:
        try:
            action()
        finally:
            if sys.stdout:
                sys.stdout.flush()  # here, where a reader that has left is understood
    except UserError as error:
        return _leave(report(error))
    except Interrupted:
        print("stopped; what is written is complete and the same command continues", file=sys.stderr)
        return _leave(EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        print("stopped; a run goes on from its last checkpoint, if it has left one", file=sys.stderr)
        return _leave(130)
    except BrokenPipeError:  # the reader of our output has left; the interpreter must not flush into it again
        sys.stdout = None
        return _leave(141)
    except Exception as error:
        if _has_lost_another(error):
            print(LOST, file=sys.stderr)
            return _leave(EXIT_LOST)
        sys.excepthook(*sys.exc_info())
        return _leave(1)
    return _leave(0)


def _leave(code: int) -> int:
    """`code`, unless others run beside this process: it ends here then."""
    if "torch" in sys.modules:  # a command that has not imported it has joined nobody
        from pipeline.training.distributed import launch

        launch.leave(code)
    return code


def _has_lost_another(error: Exception) -> bool:
    if "torch" not in sys.modules:
        return False
    from pipeline.training.distributed import launch

    return launch.has_lost_another(error)


def _terminate(number: int, frame: FrameType | None) -> None:
    """Leave as after an error, so that nothing half-written stays; training has a better answer of its own."""
    sys.exit(128 + number)


def _dispatch(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return
    name, *rest = arguments
    if name not in COMMANDS:
        raise UserError(f"finetune {name}: no such command{suggest(name, COMMANDS)}")
    COMMANDS[name](rest)


def _usage() -> str:
    lines = [f"  {name:<10}{command.__doc__.splitlines()[0]}" for name, command in COMMANDS.items()]  # type: ignore[union-attr]
    return "\n".join(["usage: finetune COMMAND ...", "", *lines, "", "finetune COMMAND --help tells more."])
