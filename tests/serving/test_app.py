"""A server over real HTTP on loopback, with a function as its model: answers, refusals, metrics, timeouts, draining."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from running import serving, until

from pipeline.errors import UserError
from pipeline.serving import address, limits
from pipeline.serving.app import Service
from pipeline.serving.limits import Limits
from pipeline.serving.server import Server
from pipeline.tasks.base import load_task


def lengths(contents, options):
    if "bad" in contents:
        raise UserError("predict: a bad text")
    if "broken" in contents:
        raise RuntimeError("a secret of the inside")
    return [{"text": content, "label": len(content)} for content in contents]


@pytest.fixture(scope="module")
def client():
    with serving(lengths, max_body=2000, max_texts=20, max_length=100) as (client, _, _):
        yield client


def test_one_text_gets_an_answer_and_a_list_gets_a_list(client):
    assert client.predict("warm")[:2] == (200, {"text": "warm", "label": 4})
    assert client.predict(["a", "bc"])[:2] == (200, [{"text": "a", "label": 1}, {"text": "bc", "label": 2}])
    assert client.predict([])[:2] == (200, [])
    body = json.dumps({"inputs": "שלום"}, ensure_ascii=False).encode()
    assert client.send("POST", "/predict", body, Content_Type="application/json; charset=utf-8").body["text"] == "שלום"


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "status", "message"),
    [
        ("GET", "/predict", None, None, 405, "/predict does not take GET"),
        ("POST", "/health", None, None, 405, "/health does not take POST"),
        ("GET", "/", None, None, 404, "there is no /; there are /predict, /health and /metrics"),
        ("POST", "/predict/", "{}", "application/json", 404, "there is no /predict/; there are"),
        ("POST", "/predict", '{"inputs": "a"}', "text/plain", 415, "the content type is text/plain; send JSON with"),
        ("POST", "/predict", '{"inputs": "a"}', None, 415, "there is no content type; send JSON"),
        ("POST", "/predict", '{"inputs"', "application/json", 400, "the body is not JSON: "),
        ("POST", "/predict", '{"inputs": 1}', "application/json", 400, "inputs: 1 is not a text"),
        ("POST", "/predict", " " * 3000, "application/json", 413, "the body is too long; send at most 2,000 bytes"),
        ("POST", "/predict", '{"inputs": "bad"}', "application/json", 400, "predict: a bad text"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_status_and_says_in_json_what_is_wrong(client, method, path, body, kind, status, message):
    found = client.send(method, path, body, **({"Content_Type": kind} if kind else {}))
    assert found.status == status
    assert found.body["error"].startswith(message)
    if status == 405:
        assert found.headers["Allow"]


def test_a_long_body_is_refused_even_if_its_length_is_not_announced(client):
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=10)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/predict", iter([b" " * 1000] * 300), headers, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_an_error_inside_the_model_is_answered_without_what_it_says(client, caplog):
    found = client.predict(["good", "broken"])
    assert found[:2] == (500, {"error": "the server has failed to answer; its log says why"})
    until(lambda: "a secret of the inside" in caplog.text)
    assert client.predict("good").status == 200


def test_what_is_not_http_does_not_stop_the_server(client):
    with socket.create_connection(("127.0.0.1", client.port)) as raw:
        raw.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert raw.recv(1000).startswith(b"HTTP/1.1 400")
    assert client.send("GET", "/health")[:2] == (200, {"status": "ready", "model": "fake", "task": "sentiment"})


def test_metrics_count_requests_by_status_and_the_texts_of_batches():
    with serving(lengths) as (client, _, _):
        for inputs in ("a", ["b", "c", "d"], 7, "bad"):
            client.predict(inputs)
        client.send("GET", "/nothing")
        client.send("GET", "/nothing/at/all")
        page = client.send("GET", "/metrics")
        assert page.headers["Content-Type"].startswith("text/plain; version=")
        assert client.metric('finetune_requests_total{path="/predict",status="200"}') == 2
        assert client.metric('finetune_requests_total{path="/predict",status="400"}') == 2
        assert client.metric('finetune_requests_total{path="other",status="404"}') == 2
        assert client.metric("finetune_request_seconds_count") == 4
        assert client.metric("finetune_batch_size_sum") == 4
        assert client.metric('finetune_batch_size_bucket{le="1.0"}') == 1
        assert client.metric("finetune_queue_texts") == 0


class Gate:
    """A model that answers when it is opened."""

    def __init__(self):
        self.opened = threading.Event()
        self.read = []

    def __call__(self, contents, options):
        assert self.opened.wait(20)
        self.read += contents
        return lengths(contents, options)


def test_concurrent_requests_share_batches_and_a_bad_one_fails_alone():
    gate = Gate()
    with serving(gate, batch_size=16) as (client, service, _), ThreadPoolExecutor(12) as pool:
        first = pool.submit(client.predict, "first")
        until(lambda: service.pending == 1 and not service.batcher.waiting)
        texts = [f"text {number}" for number in range(10)]
        later = [pool.submit(client.predict, text) for text in [*texts, "bad"]]
        until(lambda: service.batcher.waiting == 11)
        gate.opened.set()
        assert [future.result().body["text"] for future in [first, *later[:-1]]] == ["first", *texts]
        assert later[-1].result().status == 400
        assert set(gate.read[1:12]) == {*texts, "bad"}  # in one batch; the texts were then tried one by one


def test_a_full_queue_refuses_with_503_and_asks_to_come_again():
    gate = Gate()
    with serving(gate, max_queue=2, max_texts=2) as (client, service, _), ThreadPoolExecutor(3) as pool:
        running = pool.submit(client.predict, "one")
        until(lambda: service.pending == 1 and not service.batcher.waiting)
        waiting = pool.submit(client.predict, ["two", "three"])
        until(lambda: service.batcher.waiting == 2)
        found = client.predict("four")
        assert found[:2] == (503, {"error": "2 texts are waiting; ask again later"})
        assert found.headers["Retry-After"] == "1"
        gate.opened.set()
        assert running.result().status == waiting.result().status == 200


def test_a_request_that_takes_too_long_is_refused_and_its_texts_leave_the_queue():
    gate = Gate()
    with serving(gate, timeout=0.3) as (client, _, _):
        assert client.predict("one")[:2] == (503, {"error": "there was no answer within 0.3 seconds; ask again later"})
        assert client.predict("two").status == 503
        gate.opened.set()
        until(lambda: client.predict("three").status == 200)  # not within 0.3 seconds if the machine is busy
        assert set(gate.read) == {"one", "three"}


def test_a_body_that_does_not_arrive_is_refused_with_408():
    with serving(lengths, timeout=0.2) as (client, _, _), socket.create_connection(("127.0.0.1", client.port)) as raw:
        raw.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        assert raw.recv(1000).startswith(b"HTTP/1.1 408")


def test_bodies_that_arrive_at_the_same_time_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(limits, "BODIES_AT_ONCE", 3)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    with serving(lengths, max_body=1000) as (client, service, _), contextlib.ExitStack() as stack:
        others = [stack.enter_context(socket.create_connection(("127.0.0.1", client.port))) for _ in range(3)]
        for other in others:
            other.sendall(head + b" " * 900)
        until(lambda: service.held == 2700)
        assert client.predict("short").status == 200
        found = client.predict("long" * 100)
        assert found[:2] == (503, {"error": "too many requests are arriving; ask again later"})
        assert found.headers["Retry-After"] == "1"
        assert service.held == 2700
        others[0].close()
        until(lambda: service.held == 1800)
        assert client.predict("long" * 100).status == 200
        others[1].sendall(b" " * 100)  # all of it, which is no JSON
        assert others[1].recv(1000).startswith(b"HTTP/1.1 400")
        until(lambda: service.held == 900)
    until(lambda: service.held == 0)


def test_a_body_is_not_kept_while_its_texts_wait():
    gate = Gate()
    with serving(gate) as (client, service, _), ThreadPoolExecutor(2) as pool:
        running = pool.submit(client.predict, "one")
        until(lambda: service.pending == 1 and not service.batcher.waiting)
        waiting = pool.submit(client.predict, "two")
        until(lambda: service.batcher.waiting == 1)
        until(lambda: service.held == 0)
        gate.opened.set()
        assert running.result().status == waiting.result().status == 200
        assert client.send("POST", "/predict", " " * 2_000_000, Content_Type="application/json").status == 413
        assert service.held == 0


def test_the_texts_of_a_client_that_has_gone_do_not_go_through_the_model():
    gate = Gate()
    with serving(gate) as (client, service, _), ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.predict, "first")
        until(lambda: service.pending == 1 and not service.batcher.waiting)
        connection = http.client.HTTPConnection("127.0.0.1", client.port)
        connection.request("POST", "/predict", '{"inputs": "gone"}', {"Content-Type": "application/json"})
        until(lambda: service.batcher.waiting == 1)
        connection.close()
        until(lambda: service.pending == 1)
        gate.opened.set()
        assert first.result().status == 200
        assert client.predict("last").status == 200
        assert gate.read == ["first", "last"]


def test_a_server_that_drains_answers_what_it_has_accepted_and_refuses_the_rest():
    gate = Gate()
    with serving(gate) as (client, service, server), ThreadPoolExecutor(2) as pool:
        accepted = [pool.submit(client.predict, text) for text in ("one", ["two", "three"])]
        until(lambda: service.pending == 2)
        server.handle_exit(signal.SIGTERM, None)
        late = client.predict("late")
        assert late[:2] == (503, {"error": "this server is about to stop; ask another one"})
        assert late.headers["Connection"] == "close"
        assert client.send("GET", "/health")[:2] == (503, {"status": "draining", "model": "fake", "task": "sentiment"})
        assert client.metric('finetune_requests_total{path="/predict",status="503"}') == 1
        gate.opened.set()
        assert [future.result().status for future in accepted] == [200, 200]
        until(lambda: not server.started or not is_listening(client.port))
        assert (service.answered, service.refused) == (2, 1)


def test_a_request_that_is_refused_does_not_keep_a_server_from_stopping():
    with serving(lengths) as (client, service, _), socket.create_connection(("127.0.0.1", client.port)) as raw:
        service.is_draining = True
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
        raw.sendall(head + b"{")
        client.send("GET", "/health")  # the server has read the other request before this one
        assert service.pending == 0


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_an_address_that_cannot_be_used_is_refused_in_one_line():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(
            UserError, match=rf"^port: cannot listen on http://127\.0\.0\.1:{port}: Address already in use; "
        ):
            address.bind("127.0.0.1", port)
    with pytest.raises(UserError, match=r"^host: there is no address no\.such\.host\.invalid; use 127\.0\.0\.1"):
        address.bind("no.such.host.invalid", 0)
    with pytest.raises(UserError, match="Cannot assign requested address"):
        address.bind("192.0.2.1", 0)
    assert address.url("::1", 80) == "http://[::1]:80"


def test_an_address_that_another_server_takes_while_the_model_is_loaded_is_refused_as_well():
    first = address.bind("127.0.0.1", 0)
    second = address.bind(*first.getsockname())  # nobody listens yet
    first.listen()
    service = Service("fake", load_task("sentiment"), lengths, Limits())
    with contextlib.closing(first), contextlib.closing(second):
        with pytest.raises(UserError, match=r"^port: cannot listen on .*: Address already in use"):
            Server(service).run(sockets=[second])
        assert service.batcher.stop(10)
