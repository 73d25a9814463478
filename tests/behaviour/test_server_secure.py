"""API keys, CORS, and clients that mean harm."""

import http.client
import json
import os
import select
import signal
import socket
import statistics
import time

import pytest

from conftest import EXAMPLE, PATIENCE_S, Server, fails, trickle, wait_until

KEY, ADMIN_KEY = "a-key-of-a-client", "the-key-of-the-operator"
SOLVE = {"grid": EXAMPLE, "options": {"max_steps": 1}}


# --- API keys


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"# who may come in\n\n  {KEY}  \n")
    server = Server("--api-keys-file", str(keys), "--admin-key", ADMIN_KEY, "--log-level", "debug",
                    environment={"TRM_API_KEYS": "first-of-two, second-of-two"})
    yield server
    assert server.stop() == 0


@pytest.mark.parametrize("headers", [
    {"Authorization": f"Bearer {KEY}"}, {"Authorization": f"bearer   {KEY}"}, {"X-Api-Key": KEY},
    {"Authorization": f"Bearer {ADMIN_KEY}"}, {"X-Api-Key": "first-of-two"}, {"X-Api-Key": "second-of-two"},
    {"Authorization": "Basic eA==", "X-Api-Key": KEY}])
def test_a_good_key_opens(keyed, headers):
    assert keyed.post(SOLVE, headers).status == 200


@pytest.mark.parametrize("headers", [
    {}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "}, {"Authorization": f"Bearer {KEY[:-1]}"},
    {"Authorization": f"Bearer {KEY}x"}, {"Authorization": f"Basic {KEY}"}, {"Authorization": KEY},
    {"X-Api-Key": ""}, {"X-Api-Key": "# who may come in"}, {"X-Api-Key": ADMIN_KEY[1:]},
    {"X-Api-Key": "x" * 5000}, {"X-Api-Key": "first-of-two,second-of-two"},
    {"Authorization": "Bearer wrong-key", "X-Api-Key": KEY}])
def test_anything_else_is_401(keyed, headers):
    for path in ("/solve", "/nowhere"):
        reply = keyed.request("POST", path, json.dumps(SOLVE), headers)
        assert reply.status == 401 and reply.json()["status"] == 401
        assert reply.headers["WWW-Authenticate"].startswith("Bearer ")
        assert reply.headers["Content-Type"] == "application/problem+json"
    assert keyed.request("GET", "/models", None, headers).status == 401


def test_a_client_may_not_do_what_an_admin_may(keyed):
    def reload(key):
        return keyed.request("POST", "/models/sudoku/reload", headers={"X-Api-Key": key}).status

    assert (reload("not-a-key-at-all"), reload(KEY), reload(ADMIN_KEY)) == (401, 403, 200)


def test_an_admin_key_alone_asks_clients_for_nothing(start):
    server = start("--admin-key", ADMIN_KEY)
    assert server.post(SOLVE).status == 200
    assert server.request("POST", "/models/sudoku/reload").status == 401


def test_sighup_reads_keys_again_and_keeps_them_if_it_cannot(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("the-first-key\n")
    server = start("--api-keys-file", str(keys))

    def opens(key):
        return server.post(SOLVE, {"X-Api-Key": key}).status == 200

    keys.write_text("another-key\n")
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: opens("another-key"))
    assert not opens("the-first-key")
    keys.write_text("bad\n")
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: any("level=error" in line for line in server.log))
    assert opens("another-key")


def test_health_needs_no_key(keyed):
    assert keyed.get("/health/live").status == 200
    assert keyed.get("/health/ready").status == 200


def test_keys_are_not_logged(keyed):
    keyed.post(SOLVE, {"X-Api-Key": KEY})
    keyed.post(SOLVE, {"X-Api-Key": KEY + "-wrong"})
    keyed.get("/health/live")
    assert keyed.log
    assert not any(word in line for line in keyed.log for word in (KEY, ADMIN_KEY, "first-of-two"))


def test_without_keys_none_is_asked_for(shared_server):
    assert shared_server.post(SOLVE, {"Authorization": "Bearer anything"}).status == 200


def test_impossible_keys_end_the_start(tmp_path):
    keys = tmp_path / "keys"
    for text, word in (("", "no key"), ("# nothing\n", "no key"), ("good-enough\nshort\n", "line 2"),
                       ("with a space in it\n", "line 1"), ("x" * 200, "line 1"), ("\x01\x02" * 8, "line 1"),
                       ("#" * 2000 + "\n", "line 1")):
        keys.write_text(text)
        said = fails("--api-keys-file", str(keys))
        assert word in said and "good-enough" not in said
    assert "/no/such/file" in fails("--api-keys-file", "/no/such/file")
    assert "api-keys" in fails(environment={"TRM_API_KEYS": "long-enough,,other-one"})


# --- CORS


def test_cors_is_silent_when_off(shared_server):
    reply = shared_server.post(SOLVE, {"Origin": "https://a.example"})
    assert reply.status == 200 and reply.headers["Vary"] is None
    assert not [name for name in reply.headers if name.lower().startswith("access-control")]
    preflight = shared_server.request("OPTIONS", "/solve", headers={"Origin": "https://a.example",
                                                                     "Access-Control-Request-Method": "POST"})
    assert preflight.status == 405
    assert not [name for name in preflight.headers if name.lower().startswith("access-control")]


@pytest.fixture(scope="module")
def listed():
    server = Server("--cors-origin", "https://a.example,http://localhost:3000", "--api-keys", KEY)
    yield server
    assert server.stop() == 0


@pytest.mark.parametrize("origin", ["https://a.example", "http://localhost:3000"])
def test_a_listed_page_may_ask_and_read(listed, origin):
    preflight = listed.request("OPTIONS", "/solve", headers={
        "Origin": origin, "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type"})
    assert preflight.status == 204 and preflight.body == b""
    assert preflight.headers["Access-Control-Allow-Origin"] == origin
    assert preflight.headers["Access-Control-Allow-Methods"] == "POST"
    allowed = preflight.headers["Access-Control-Allow-Headers"].lower()
    assert "authorization" in allowed and "content-type" in allowed
    for headers, status in (({"X-Api-Key": KEY}, 200), ({}, 401)):
        reply = listed.post(SOLVE, {"Origin": origin, **headers})
        assert reply.status == status
        assert reply.headers["Access-Control-Allow-Origin"] == origin
        assert "Retry-After" in reply.headers["Access-Control-Expose-Headers"]
        assert reply.headers["Vary"] == "Origin"


@pytest.mark.parametrize("origin", ["https://b.example", "https://a.example.evil", "https://a.exampl", "null", "",
                                    "https://a.example,http://localhost:3000"])
def test_another_page_may_not(listed, origin):
    for reply in (listed.post(SOLVE, {"Origin": origin, "X-Api-Key": KEY}),
                  listed.request("OPTIONS", "/solve", headers={"Origin": origin})):
        assert reply.headers["Access-Control-Allow-Origin"] is None
        assert reply.headers["Vary"] == "Origin"


def test_a_star_is_for_every_page(start):
    server = start("--cors-origin", "*")
    reply = server.post(SOLVE, {"Origin": "https://whoever.example"})
    assert reply.headers["Access-Control-Allow-Origin"] == "*" and reply.headers["Vary"] is None


@pytest.mark.parametrize("origin", ["a.example", "https://a.example/", "https://A.example", "https://a.example,*", "://",
                                    "https://a.example, https://b.example"])
def test_what_is_no_origin_ends_the_start(origin):
    assert "--cors-origin" in fails("--cors-origin", origin)


def test_browsers_are_told_not_to_guess_types(shared_server):
    for reply in (shared_server.get("/health/live"), shared_server.get("/nowhere")):
        assert reply.headers["X-Content-Type-Options"] == "nosniff"


# --- limits


def test_a_head_that_trickles_does_not_hold_a_connection(start):
    server = start("--head-timeout", "1")
    with server.raw() as raw:
        trickle(raw, b"GET /health/live HTTP/1.1\r\nX-Slow: ", b"x")
    assert server.is_healthy()


def test_a_second_head_that_trickles_does_not_hold_a_connection(start):
    server = start("--head-timeout", "1", "--idle-timeout", "1")
    with server.raw() as raw:
        raw.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 200")
        trickle(raw, b"GET /health/live HTTP/1.1\r\nX-Slow: ", b"x")
    assert server.is_healthy()


def test_a_body_that_trickles_does_not_hold_a_connection(start):
    server = start("--body-timeout", "1")
    with server.raw() as raw:
        received = trickle(raw, b"POST /solve HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", b" ")
    assert received == b"" or received.startswith(b"HTTP/1.1 408")
    assert server.is_healthy()


def test_an_answer_that_nobody_reads_does_not_hold_a_connection(start):
    """More than sockets hold, read so slowly that there is always some progress."""
    server = start("--body-timeout", "1")
    body = json.dumps({"grids": [EXAMPLE] * 1000, "options": {"max_steps": 1}}).encode()
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(PATIENCE_S)
        raw.connect(("127.0.0.1", server.port))
        raw.sendall(b"POST /solve HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        response = http.client.HTTPResponse(raw)
        response.begin()
        promised, received = int(response.headers["Content-Length"]), 0
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            while received < promised:
                received += len(response.read(1000))
                time.sleep(0.05)
                if response.isclosed():
                    raise ConnectionError
    assert received < promised
    assert server.is_healthy()


def test_a_request_longer_than_the_timeouts_is_left_in_peace(start):
    server = start("--head-timeout", "1", "--body-timeout", "1", "--idle-timeout", "1", "--step-limit", "1000000")
    reply = server.post({"grid": EXAMPLE, "options": {"max_steps": 1000000, "no_halt": True, "deadline_ms": 2500}})
    assert reply.status == 200 and reply.json()["halted_by"] == "deadline"


@pytest.mark.parametrize("head", [
    "Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 3",
    "Content-Length: 3\r\nContent-Length: 30", "Content-Length: 3\r\nContent-Length: 3",
    "Transfer-Encoding: xchunked", "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Content-Length : 3", "Content Length: 3"])
def test_a_request_whose_end_is_in_doubt_is_400_and_hides_no_other(shared_server, head):
    with shared_server.raw() as raw:
        raw.sendall(f"POST /solve HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode()
                    + b"0\r\n\r\nGET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        text = b""
        while data := raw.recv(65536):
            text += data
    assert text.startswith(b"HTTP/1.1 400 ") and text.count(b"HTTP/1.1") == 1
    assert b"Connection: close" in text and b'"urn:trm-server:bad-head"' in text


def test_a_long_path_is_414_and_a_longer_head_431_or_414(shared_server):
    assert shared_server.get("/" + "x" * 5000).status == 414
    assert shared_server.get("/" + "x" * 100000).status in (414, 431)
    with shared_server.raw() as raw:
        try:
            raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Filler: filler\r\n" * 20000 + b"\r\n")
            assert b" 431 " in raw.recv(100)
        except ConnectionError:
            pass  # it closed before all of the head was sent
    assert shared_server.is_healthy()


def test_connections_of_one_address_are_limited(start):
    server = start("--max-per-address", "3")
    held = [server.raw() for _ in range(3)]
    for raw in held:
        raw.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 200")
    with server.raw() as fourth:
        try:
            assert fourth.recv(1) == b""
        except ConnectionError:
            pass
    for raw in held:
        raw.close()

    def comes_in():
        try:
            return server.get("/health/live").status == 200
        except (ConnectionError, http.client.HTTPException):
            return False

    wait_until(comes_in)


def test_bodies_on_their_way_share_their_memory(start):
    """There is room for two halves of bodies: the third is refused at once, and a fourth until they are gone."""
    server = start("--body-memory", "150000", "--max-body", "100000")
    held = [server.raw() for _ in range(3)]
    for raw in held:
        raw.sendall(b"POST /solve HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n" + b" " * 60000)
    answered, _, _ = select.select(held, [], [], PATIENCE_S)
    assert len(answered) == 1 and answered[0].recv(4096).startswith(b"HTTP/1.1 429")
    body = json.dumps(SOLVE).ljust(50000)
    refused = server.post(body)
    assert refused.status == 429 and refused.headers["Retry-After"]
    assert server.get("/health/live").status == 200
    for raw in held:
        raw.close()
    wait_until(lambda: server.post(body).status == 200)


def test_streams_that_nobody_reads_harm_nobody(start):
    """Each has more to say than its socket holds. While they are solved others are served in their turn,
    afterwards at once. Says what they cost; that steps which nobody reads are not kept is tested elsewhere."""
    streams = int(os.environ.get("TRM_TEST_STREAMS", 4))  # by hand: 1000
    server = start("--max-connections", str(streams + 10), "--idle-timeout", "3600")
    body = json.dumps({"grid": EXAMPLE, "options": {"max_steps": 200, "no_halt": True}}).encode()
    head = b"POST /solve HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body)

    def resident():
        with open(f"/proc/{server.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    assert server.solve(EXAMPLE, max_steps=1)["steps"] == 1
    before = resident()
    readers = []
    for _ in range(streams):
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(PATIENCE_S)
        raw.connect(("127.0.0.1", server.port))
        raw.sendall(head + body)
        readers.append(raw)
    for raw in readers:
        assert raw.recv(12) == b"HTTP/1.1 200"

    def others_are_served():
        assert server.get("/health/ready").status == 200
        return server.solve(EXAMPLE, max_steps=1, priority=1)["timing_ms"]["total"]

    beside = others_are_served()
    while b'trm_slots_busy{model="sudoku"} 0' not in server.get("/metrics").body:
        time.sleep(0.1)
    after = statistics.median(others_are_served() for _ in range(5))
    grown = resident() - before
    print(f"{streams} streams, {grown / streams / 1024:.0f} KiB each; another puzzle took {beside:.0f} ms while they "
          f"were solved, {after:.1f} ms afterwards")
    for raw in readers:
        raw.close()
    wait_until(lambda: server.solve(EXAMPLE, max_steps=1)["steps"] == 1)
