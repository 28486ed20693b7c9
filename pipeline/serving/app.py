"""The ASGI application: `POST /predict`, `GET /health` and `GET /metrics`, with every refusal as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.errors import UserError
from pipeline.serving import requests
from pipeline.serving.batching import Batcher, Predict, QueueFull
from pipeline.serving.limits import Limits
from pipeline.serving.metrics import CONTENT_TYPE, Metrics
from pipeline.serving.requests import Refusal
from pipeline.tasks.base import Task

T = TypeVar("T")

PREDICT, HEALTH, METRICS = "/predict", "/health", "/metrics"
JSON = "application/json"
SOON = {"Retry-After": "1"}
CLIENT_GONE = 499  # nobody reads this status; it is counted


class Service:
    """A model that answers requests, and what is known about them.

    Attributes:
        name: of the model, for /health.
        is_draining: whether new requests are refused.
        pending: requests that have been accepted and have no response yet.
        answered, refused: numbers of requests for predictions that have a response.
        held: bytes of the bodies that are in memory. Once a body is read, `max_queue` limits what is kept of it.
    """

    def __init__(self, name: str, task: Task, predict: Predict, limits: Limits):
        self.name, self.task, self.limits, self.metrics = name, task, limits, Metrics()
        self.batcher = Batcher(
            predict, limits.batch_size, limits.batch_wait / 1000, limits.max_queue, self.metrics.add_batch
        )
        self.metrics.watch_queue(lambda: self.batcher.waiting)
        self.is_draining = False
        self.pending = self.answered = self.refused = self.held = 0

    async def predict(self, request: Request) -> Response:
        """Answer a request, or refuse it."""
        is_late, body = self.is_draining, bytearray()
        self.pending += not is_late  # those that are refused must not keep the server from stopping
        try:
            with self.metrics.seconds.time():
                # Also read if it is refused: a connection that is closed before may be reset before the client has
                # read the response.
                await self._in_time(self._receive(request, body), 408, "the body has not arrived")
                if is_late:
                    raise Refusal(503, "this server is about to stop; ask another one")
                _check_content_type(request)
                return await self._in_time(self._answer(request, body), 503, "there was no answer")
        finally:
            self._release(body)
            self.pending -= not is_late

    async def _in_time(self, action: Awaitable[T], status: int, problem: str) -> T:
        try:
            return await asyncio.wait_for(action, self.limits.timeout)
        except asyncio.TimeoutError as error:
            raise Refusal(status, f"{problem} within {self.limits.timeout:g} seconds; ask again later", SOON) from error

    async def _receive(self, request: Request, body: bytearray) -> None:
        """Fill `body`; what has no room is received as well, but not kept."""
        length, has_room, largest = 0, True, self.limits.max_body
        async for part in request.stream():
            length += len(part)
            has_room = has_room and self.held + len(part) <= self.limits.max_bodies
            if has_room and length <= largest:
                body += part
                self.held += len(part)
            else:
                self._release(body)
        if length > largest:
            raise Refusal(413, f"the body is too long; send at most {largest:,} bytes")
        if not has_room:
            raise Refusal(503, "too many requests are arriving; ask again later", SOON)

    def _release(self, body: bytearray) -> None:
        self.held -= len(body)
        body.clear()

    async def _answer(self, request: Request, body: bytearray) -> Response:
        read = requests.read(bytes(body), self.task, self.limits)
        self._release(body)
        try:
            future = self.batcher.submit(read.contents, read.options)
        except QueueFull as error:
            raise Refusal(503, f"{self.batcher.waiting:,} texts are waiting; ask again later", SOON) from error
        try:
            answers = await _unless_gone(request, asyncio.wrap_future(future))
        except UserError as error:
            raise Refusal(400, str(error)) from error
        return JSONResponse(answers if read.is_list else answers[0])

    async def health(self, request: Request) -> Response:
        """200 while requests are accepted, and 503 afterwards."""
        status, code = ("draining", 503) if self.is_draining else ("ready", 200)
        return JSONResponse({"status": status, "model": self.name, "task": self.task.name}, code)

    async def report(self, request: Request) -> Response:
        """The metrics."""
        return Response(self.metrics.page(), headers={"Content-Type": CONTENT_TYPE})

    def count(self, path: str, status: int) -> None:
        """Count a response. Paths that do not exist count as one: clients could invent any number of them."""
        known = path if path in (PREDICT, HEALTH, METRICS) else "other"
        self.metrics.requests.labels(known, str(status)).inc()
        if path == PREDICT:
            self.answered += status == 200
            self.refused += status != 200


def application(service: Service) -> ASGIApp:
    """The application that serves `service`."""
    app = Starlette(
        routes=[
            Route(PREDICT, service.predict, methods=["POST"]),
            Route(HEALTH, service.health),
            Route(METRICS, service.report),
        ],
        exception_handlers={
            Refusal: _refused,
            HTTPException: _no_such_page,
            ClientDisconnect: lambda request, error: Response(status_code=CLIENT_GONE),
            Exception: _failed,
        },
    )
    app.router.redirect_slashes = False
    return _Frame(app, service)


class _Frame:
    """Around the application: counts every response, and closes connections while the server is draining."""

    def __init__(self, app: ASGIApp, service: Service):
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._service.count(scope["path"], message["status"])
                if self._service.is_draining:
                    message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive, counted)


def _check_content_type(request: Request) -> None:
    # Another content type could be sent by any page in a browser: for JSON, browsers ask this server first.
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != JSON:
        found = f"the content type is {given}" if given else "there is no content type"
        raise Refusal(415, f"{found}; send JSON with the header Content-Type: {JSON}")


async def _unless_gone(request: Request, answers: asyncio.Future[Any]) -> Any:
    """The `answers`; they are cancelled if the client closes the connection first.

    Raises:
        ClientDisconnect: it has.
    """
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({answers, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answers.done():
            raise ClientDisconnect
        return answers.result()
    finally:
        gone.cancel()
        answers.cancel()


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return JSONResponse({"error": error.message}, error.status, error.headers)


def _no_such_page(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    messages = {
        404: f"there is no {path}; there are {PREDICT}, {HEALTH} and {METRICS}",
        405: f"{path} does not take {request.method}",
    }
    return JSONResponse({"error": messages.get(error.status_code, error.detail)}, error.status_code, error.headers)


def _failed(request: Request, error: Exception) -> Response:
    """Starlette raises the exception again, and uvicorn prints it."""
    return JSONResponse({"error": "the server has failed to answer; its log says why"}, 500)
