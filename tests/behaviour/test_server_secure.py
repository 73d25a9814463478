"""API keys, TLS, CORS, and clients that mean harm."""

import http.client
import json
import os
import select
import signal
import socket
import ssl
import statistics
import subprocess
import time

import pytest

from conftest import EXAMPLE, PATIENCE_S, SERVER, clean_environment, model_path, sse_events

KEY, ADMIN_KEY = "a-key-of-a-client", "the-key-of-the-operator"
SOLVE = {"grid": EXAMPLE, "options": {"max_steps": 1}}


def wait_until(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def fails(*flags, environment=None):
    """Starts a server that refuses to; returns what it says."""
    result = subprocess.run([SERVER, "--port", "0", "--model", model_path(), *flags], capture_output=True, text=True,
                            timeout=PATIENCE_S, env=clean_environment(environment))
    assert result.returncode != 0
    return result.stderr


# --- API keys


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    from conftest import Server
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
    from conftest import Server
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


# --- TLS


def make_certificate(directory, name="localhost"):
    cert, key = str(directory / f"{name}.crt"), str(directory / f"{name}.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", key, "-out", cert, "-days", "2", "-subj", f"/CN={name}", "-addext",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    os.chmod(key, 0o600)
    return cert, key


class Tls:
    """A server with TLS and how to reach it."""

    def __init__(self, directory, *flags):
        from conftest import Server
        self.cert, self.key = make_certificate(directory)
        self.server = Server("--tls-cert", self.cert, "--tls-key", self.key, *flags)
        self.port = self.server.port
        self.context = ssl.create_default_context(cafile=self.cert)

    def raw(self):
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        return self.context.wrap_socket(plain, server_hostname="localhost")

    def connect(self):
        return http.client.HTTPSConnection("localhost", self.port, timeout=PATIENCE_S, context=self.context)


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    one = Tls(tmp_path_factory.mktemp("tls"))
    yield one
    assert one.server.stop() == 0


def test_tls_answers_one_request_after_the_other(tls):
    connection = tls.connect()
    for _ in range(20):
        connection.request("POST", "/solve", json.dumps(SOLVE))
        assert json.loads(connection.getresponse().read())["steps"] == 1
    connection.close()


def test_tls_streams(tls):
    connection = tls.connect()
    connection.request("POST", "/solve", json.dumps({"grid": EXAMPLE, "options": {"max_steps": 30, "no_halt": True}}),
                       {"Accept": "text/event-stream"})
    events = list(sse_events(connection.getresponse()))
    assert [data["step"] for kind, data in events if kind == "step"] == list(range(1, 31))
    assert events[-1][0] == "answer"
    connection.close()


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "application/x-ndjson"])
def test_a_client_that_leaves_through_tls_frees_its_slot(tmp_path, accept):
    one = Tls(tmp_path, "--workers", "1", "--slots", "1", "--step-limit", "1000000")
    endless = json.dumps({"grid": EXAMPLE, "options": {"max_steps": 1000000, "no_halt": True}})
    for _ in range(3):
        with one.raw() as raw:
            raw.sendall(f"POST /solve HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n"
                        f"Content-Length: {len(endless)}\r\n\r\n{endless}".encode())
    connection = one.connect()
    connection.request("POST", "/solve", json.dumps(SOLVE))
    assert json.loads(connection.getresponse().read())["steps"] == 1
    connection.close()
    assert one.server.stop() == 0


def test_tls_reads_a_body_of_many_records_sent_at_once(tls):
    """Records of 16 KiB arrive together: what GnuTLS holds no event announces."""
    body = json.dumps({"grids": [EXAMPLE] * 40, "options": {"max_steps": 1}}).ljust(900_000).encode()
    for _ in range(3):
        with tls.raw() as raw:
            raw.sendall(b"POST /solve HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            response = http.client.HTTPResponse(raw)
            response.begin()
            assert response.status == 200 and len(json.loads(response.read())["answers"]) == 40


def test_tls_reads_a_byte_at_a_time(tls):
    """Each byte is a record of its own, all of them sent before the answer is waited for."""
    body = json.dumps(SOLVE).encode()
    with tls.raw() as raw:
        for byte in b"POST /solve HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body:
            raw.send(bytes([byte]))
        response = http.client.HTTPResponse(raw)
        response.begin()
        assert response.status == 200


def test_tls_answers_requests_of_one_record_in_order(tls):
    """The second request lies in GnuTLS or libmicrohttpd while the first one's connection is suspended."""
    body = json.dumps({"grid": EXAMPLE, "options": {"max_steps": 20, "no_halt": True}}).encode()
    request = b"POST /solve HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with tls.raw() as raw:
        raw.sendall(request * 3 + b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = b""
        while data := raw.recv(65536):
            text += data
    assert text.count(b"HTTP/1.1 200") == 4 and text.endswith(b'{"status":"live"}\n')


def test_tls_sends_a_large_answer_to_a_slow_reader(tls):
    """More than sockets hold, read in small pieces after a pause: the rest waits and comes whole."""
    body = json.dumps({"grids": [EXAMPLE] * 1000, "options": {"max_steps": 1}}).encode()
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.settimeout(PATIENCE_S)
        plain.connect(("127.0.0.1", tls.port))
        with tls.context.wrap_socket(plain, server_hostname="localhost") as raw:
            raw.sendall(b"POST /solve HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            response = http.client.HTTPResponse(raw)
            response.begin()
            text = b""
            for _ in range(20):
                text += response.read(500)
                time.sleep(0.02)
            text += response.read()
    assert len(json.loads(text)["answers"]) == 1000


def test_tls_tells_a_refusal_in_the_middle_of_a_body(tmp_path):
    one = Tls(tmp_path, "--max-body", "2048", "--body-timeout", "1")
    with one.raw() as raw:
        raw.sendall(b"POST /solve HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n" + b" " * 4096)
        response = http.client.HTTPResponse(raw)
        response.begin()
        assert response.status == 413 and json.loads(response.read())["status"] == 413
    with one.raw() as raw:
        raw.sendall(b"POST /solve HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        response = http.client.HTTPResponse(raw)
        response.begin()
        assert response.status == 408
    assert one.server.stop() == 0


def test_a_client_that_leaves_in_a_handshake_or_speaks_no_tls_is_harmless(tls):
    for data in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", os.urandom(300)):
        with socket.create_connection(("127.0.0.1", tls.port), timeout=PATIENCE_S) as raw:
            raw.sendall(data)
    with tls.raw() as raw:
        raw.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_tls_is_refused(tls):
    old = ssl.create_default_context(cafile=tls.cert)
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", tls.port), timeout=PATIENCE_S) as plain:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            old.wrap_socket(plain, server_hostname="localhost")


def test_sighup_brings_a_new_certificate_and_a_bad_one_is_not_taken(tmp_path):
    one = Tls(tmp_path)

    def shown():
        return ssl.get_server_certificate(("127.0.0.1", one.port))

    with one.raw() as held:  # a connection of before goes on
        first = shown()
        make_certificate(tmp_path)
        one.server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: shown() != first)
        second = shown()
        with open(one.cert, "w") as file:
            file.write("no certificate")
        one.server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: any("level=error" in line for line in one.server.log))
        assert shown() == second
        held.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert held.recv(100).startswith(b"HTTP/1.1 200")
    assert one.server.stop() == 0


def test_wrong_files_of_tls_end_the_start(tmp_path):
    cert, key = make_certificate(tmp_path)
    other = make_certificate(tmp_path, "other")
    assert "need each other" in fails("--tls-cert", cert)
    assert "need each other" in fails("--tls-key", key)
    assert "/no/such" in fails("--tls-cert", "/no/such", "--tls-key", key)
    assert "no TLS certificate" in fails("--tls-cert", cert, "--tls-key", other[1])
    assert "no TLS certificate" in fails("--tls-cert", key, "--tls-key", cert)


def test_a_key_that_others_may_read_is_warned_of(start, tmp_path):
    cert, key = make_certificate(tmp_path)
    os.chmod(key, 0o644)
    server = start("--tls-cert", cert, "--tls-key", key)
    assert any("level=warn" in line and "TLS key" in line and "644" in line for line in server.log)


# --- limits


def trickle(raw, first, byte):
    """Sends `first`, then a byte now and then, until the server ends the connection."""
    end = time.monotonic() + PATIENCE_S
    raw.sendall(first)
    raw.settimeout(0.1)
    received = b""
    while time.monotonic() < end:
        try:
            raw.send(byte)
            data = raw.recv(4096)
            if not data:
                return received
            received += data
        except TimeoutError:
            continue
        except OSError:
            return received
    pytest.fail("the connection is still open")


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


def test_a_handshake_that_trickles_does_not_hold_a_connection(tmp_path):
    one = Tls(tmp_path, "--head-timeout", "1")
    with socket.create_connection(("127.0.0.1", one.port), timeout=PATIENCE_S) as raw:
        trickle(raw, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"x")
    assert one.server.stop() == 0


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
