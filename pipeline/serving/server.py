"""Serves a model on a socket, and stops on a signal after it has answered what it has accepted."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from pipeline import inference
from pipeline.config import paths
from pipeline.serving import address
from pipeline.serving.app import Service, application
from pipeline.serving.limits import Limits
from pipeline.tasks.base import Task

# Seconds that a server that stops still accepts connections, to refuse their requests with 503, and seconds that it
# waits for clients to read their responses, or for the model to finish what nobody waits for.
STILL_LISTENS, LAST_SECONDS = 0.3, 5


def serve(name: str, listener: socket.socket, limits: Limits, **options: Any) -> int:
    """Serve until SIGTERM or Ctrl-C, then answer what has been accepted; a second signal stops at once.

    Args:
        name: folder of a run or of a model, or Hub id.
        listener: see `address.bind`.
        options: revision, trust_remote_code and allow_pickle of the model, see `inference.load`.

    Returns:
        The exit code: 0, or 128 and the number of the second signal.

    Raises:
        UserError: the model cannot be loaded, or something else has begun to listen on the address.
    """
    loaded = inference.load(name, **options)

    def predict(contents: list[Any], options: dict[str, Any]) -> Iterator[dict[str, Any]]:
        return inference.answers(loaded, contents, **options)

    list(predict([_first(loaded.task)], {}))  # the first text takes longer than all others
    shown = paths.last_part(name) if Path(name).exists() else name  # clients need not know this machine's folders
    service = Service(shown, loaded.task, predict, limits)
    server = Server(service)
    server.run(sockets=[listener])
    print(f"stopped: {service.answered:,} requests answered, {service.refused:,} refused", flush=True)
    is_idle = not server.force_exit and service.batcher.stop(LAST_SECONDS)
    code = 128 + server.signal if server.force_exit else 0
    if not is_idle:
        sys.stdout.flush()
        os._exit(code)  # the thread cannot be stopped within the model, and must not run on while the interpreter ends
    return code


def _first(task: Task) -> Any:
    """Something that the model can read."""
    return ("first", "text") if task.reads_pairs else "first text"


class Server(uvicorn.Server):
    """Says where it listens, and drains `service` on a signal.

    Attributes:
        signal: the number of the last one.
    """

    def __init__(self, service: Service):
        config = uvicorn.Config(
            application(service),
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=LAST_SECONDS,
        )
        super().__init__(config)
        self._service = service
        self._drains_from = 0.0
        self.signal = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        assert sockets is not None
        host, port = sockets[0].getsockname()[:2]
        try:
            await super().startup(sockets=sockets)
        except OSError as error:
            raise address.taken(host, port, error) from error
        print(f"{self._service.name} answers at {address.url(host, port)}/predict; Ctrl-C stops it", flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Instead of uvicorn's, which closes the listening socket at once, and raises the signal again at the end."""
        if self._service.is_draining:
            self.should_exit = self.force_exit = True
        self.signal, self._drains_from = sig, time.monotonic()
        self._service.is_draining = True

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; whether to stop."""
        if self._service.is_draining and not self._service.pending:
            self.should_exit |= time.monotonic() - self._drains_from >= STILL_LISTENS
        return await super().on_tick(counter)
