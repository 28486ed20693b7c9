"""Servers for the tests of serving: with a model that is a function, in a thread, or as the command starts them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from conftest import ROOT

from pipeline.serving import address
from pipeline.serving.app import Service
from pipeline.serving.limits import Limits
from pipeline.serving.server import Server
from pipeline.tasks.base import load_task


class Response(NamedTuple):
    status: int
    body: Any
    headers: Any


class Client:
    """Sends requests to a server on loopback, each on a connection of its own."""

    def __init__(self, port: int):
        self.port = port

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            content = response.read()
            is_json = response.headers.get_content_type() == "application/json"
            return Response(response.status, json.loads(content) if is_json else content.decode(), response.headers)

    def predict(self, inputs: Any, **parameters: Any) -> Response:
        body = json.dumps({"inputs": inputs, **({"parameters": parameters} if parameters else {})})
        return self.send("POST", "/predict", body, Content_Type="application/json")

    def metric(self, name: str) -> float:
        """The value of a line of /metrics."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.send("GET", "/metrics").body, re.MULTILINE)
        return float(found[1]) if found else 0.0


def until(condition: Callable[[], bool]) -> None:
    """Wait for `condition`, at most 20 seconds."""
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.005)


@contextlib.contextmanager
def serving(predict: Any, task: str = "sentiment", **limits: Any) -> Iterator[tuple[Client, Service, Server]]:
    """A server in a thread of this process, whose model is the function `predict`."""
    service = Service("fake", load_task(task), predict, Limits(**limits))
    listener = address.bind("127.0.0.1", 0)
    server = Server(service)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    port = listener.getsockname()[1]
    while not server.started:
        time.sleep(0.005)
    yield Client(port), service, server
    server.should_exit = server.force_exit = True
    thread.join()


@contextlib.contextmanager
def command(*arguments: str | Path) -> Iterator[tuple[Client, subprocess.Popen[str]]]:
    """`finetune serve` in a process of its own, on a free port, once it answers."""
    call = [sys.executable, "-m", "pipeline", "serve", *map(str, arguments), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/predict", line)
        assert found, line + process.stderr.read()
        yield Client(int(found[1])), process
    finally:
        process.kill()
        process.communicate()
