"""`finetune serve`: a saved model's predictions over HTTP."""

from __future__ import annotations

import importlib.util
import sys
from typing import Annotated

import tyro

from pipeline.cli import arguments, startup
from pipeline.cli.arguments import Arguments
from pipeline.config.schema import Port
from pipeline.errors import UserError
from pipeline.serving import address
from pipeline.serving.limits import Limits

PACKAGES = ("starlette", "uvicorn", "prometheus_client")
LIMITS = Limits()


def _serve(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    host: str = "127.0.0.1",
    port: Port = 8000,
    limits: tyro.conf.OmitArgPrefixes[Limits] = LIMITS,
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> None:
    """Answer requests over HTTP with what `finetune predict` prints: POST /predict, GET /health and GET /metrics.

    SIGTERM or Ctrl-C stops the server once it has answered what it has accepted. There is no access control.

    Example: finetune serve runs/sentiment-bilstm --port 8000

    Example: curl localhost:8000/predict --json '{"inputs": ["a warm and funny film", "dull"]}'

    Args:
        model: folder of a run or of a model, or Hub id.
        host: address to listen on; with 0.0.0.0, other machines are answered, too.
        port: port to listen on; 0 is any free one.
        revision: commit, tag or branch of a Hub model.
        trust_remote_code: run the code that comes with the model.
        allow_pickle: read weights from pytorch_model.bin if there are no safetensors.
    """
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise UserError(f"finetune serve: {missing[0]} is not installed; pip install 'finetune-pipeline[serve]'")
    arguments.check_model(model, revision, trust_remote_code, "revision")
    listener = address.bind(host, port)
    with startup.importing():
        from pipeline.serving import server

    options = {"revision": revision, "trust_remote_code": trust_remote_code, "allow_pickle": allow_pickle}
    sys.exit(server.serve(model, listener, limits, **options))


def command(given: Arguments) -> None:
    arguments.call(_serve, given, "finetune serve")
