"""Clients that go away give back what they held; clients that only close their own side get their answer."""

import http.client
import json
import random
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import EXAMPLE, sse_events, wait_until

ENDLESS = {"grid": EXAMPLE, "options": {"max_steps": 1000000, "no_halt": True}}
BRIEF = {"grid": EXAMPLE, "options": {"max_steps": 30, "no_halt": True}}


def one_slot(start, *flags):
    """Whoever has the slot keeps it."""
    return start("--workers", "1", "--slots", "1", "--parked-memory", "0", "--step-limit", "1000000", *flags)


def occupy(server):
    """A stream that holds the only slot until its connection is closed."""
    connection, response = server.open_stream(ENDLESS)
    next(sse_events(response))
    return connection


def request(body, accept="application/json", version="1.1"):
    body = json.dumps(body)
    return (f"POST /solve HTTP/{version}\r\nHost: x\r\nAccept: {accept}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode()


def half_close(server, *args, **kwargs):
    """A connection that has sent a request and will send no more."""
    raw = server.raw()
    raw.sendall(request(*args, **kwargs))
    raw.shutdown(socket.SHUT_WR)
    return raw


def response_of(raw):
    response = http.client.HTTPResponse(raw)
    response.begin()  # reads over any number of "100 Continue"
    return response


def test_a_half_closed_client_gets_its_answer(start):
    server = one_slot(start)
    with half_close(server, BRIEF) as raw:
        answer = json.loads(response_of(raw).read())
    assert answer["steps"] == 30


@pytest.mark.parametrize("body", [{"grid": ""}, {"grid": EXAMPLE}])
def test_a_half_closed_connection_is_closed_after_its_answer(start, body):
    server = start("--idle-timeout", "3600")
    for _ in range(20):
        with half_close(server, body) as raw:
            while raw.recv(4096):
                pass


def test_a_half_closed_client_waits_in_the_queue(start):
    server = one_slot(start)
    connection = occupy(server)
    with half_close(server, BRIEF) as raw:
        assert raw.recv(4096).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")  # so it has been noticed
        connection.close()
        assert json.loads(response_of(raw).read())["steps"] == 30


@pytest.mark.parametrize("accept, first", [("text/event-stream", b": ping"),
                                           ("application/x-ndjson", b'{"type":"ping"}')])
def test_a_half_closed_stream_goes_on(start, accept, first):
    server = one_slot(start)
    connection = occupy(server)
    with half_close(server, BRIEF, accept) as raw:
        response = response_of(raw)
        assert response.readline().strip() == first
        connection.close()
        text = response.read().decode()
    assert text.count('"step":') == 30 and text.count('"halted_by":"max_steps"') == 1


def free_slot(server):
    """Comes back only when the slot is free."""
    assert server.solve(EXAMPLE, max_steps=1)["steps"] == 1
    assert server.is_healthy()


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "application/x-ndjson"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_client_that_leaves_frees_its_slot(start, accept, version):
    server = one_slot(start)
    for _ in range(3):
        with server.raw() as raw:
            raw.sendall(request(ENDLESS, accept, version))
    free_slot(server)


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "application/x-ndjson"])
def test_a_client_that_leaves_after_half_closing_frees_its_slot(start, accept, reset):
    server = one_slot(start)
    with half_close(server, ENDLESS, accept) as raw:
        raw.recv(100)
        if reset:  # which needs no word from the server to come
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    free_slot(server)


def test_a_half_closed_client_of_http_1_0_has_gone(start):
    """Nothing can be said to it before its answer, so it cannot be told from one that has gone."""
    server = one_slot(start)
    with half_close(server, ENDLESS, version="1.0") as raw:
        assert raw.recv(100) == b""
        free_slot(server)


def metrics(server):
    """{name: sum over all labels}"""
    values = {}
    for line in server.get("/metrics").body.decode().splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            name = name.split("{")[0]
            values[name] = values.get(name, 0) + float(value)
    return values


def leave_somehow(server, rng):
    """Sends a request, or a part of one, and goes away at a random moment in a random way."""
    body = {"grids": [EXAMPLE] * rng.randrange(1, 6),
            "options": {"rollouts": rng.randrange(1, 5), "noise": 0.5, "max_steps": rng.choice([1, 20, 100000]),
                        "no_halt": rng.random() < 0.5, "priority": rng.randrange(-10, 11),
                        **({"deadline_ms": rng.randrange(1, 200)} if rng.random() < 0.3 else {})}}
    text = request(body, rng.choice(["application/json", "text/event-stream", "application/x-ndjson"]),
                   rng.choice(["1.0", "1.1"]))
    with server.raw() as raw:
        raw.sendall(text[:rng.randrange(len(text))] if rng.random() < 0.2 else text)
        if rng.random() < 0.3:
            raw.shutdown(socket.SHUT_WR)
        raw.settimeout(rng.random() * 0.3)
        try:
            while rng.random() < 0.8 and raw.recv(2000):
                pass
        except (TimeoutError, ConnectionError):
            pass
        if rng.random() < 0.3:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_after_a_storm_of_clients_that_leave_nothing_is_held(start):
    server = start("--step-limit", "1000000", "--slots", "4", "--max-queue", "64", "--adapt", "true", "--body-timeout", "1",
                   "--idle-timeout", "5")
    idle = server.connect()
    idle.connect()  # older than all that follow
    files = metrics(server)["process_open_fds"]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda seed: leave_somehow(server, random.Random(seed)), range(300)))
    wait_until(lambda: metrics(server)["trm_queue_length"] == 0)  # it has noticed that they left
    free_slot(server)
    wait_until(lambda: metrics(server)["trm_slots_busy"] == 0)
    after = metrics(server)
    assert after["trm_queue_length"] == 0
    assert after["trm_puzzles_accepted_total"] == after["trm_puzzles_total"] > 20
    wait_until(lambda: metrics(server)["process_open_fds"] <= files)
    idle.close()
    assert server.stop() == 0
