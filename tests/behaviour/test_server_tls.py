"""HTTPS: clients fast and slow, certificates good, bad and new."""

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import time

import pytest

from conftest import EXAMPLE, PATIENCE_S, Server, fails, sse_events, trickle, wait_until

SOLVE = {"grid": EXAMPLE, "options": {"max_steps": 1}}


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
    one = Tls(tmp_path, "--workers", "1", "--slots", "1", "--parked-memory", "0", "--step-limit", "1000000")
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


def test_a_handshake_that_trickles_does_not_hold_a_connection(tmp_path):
    one = Tls(tmp_path, "--head-timeout", "1")
    with socket.create_connection(("127.0.0.1", one.port), timeout=PATIENCE_S) as raw:
        trickle(raw, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"x")
    assert one.server.stop() == 0
