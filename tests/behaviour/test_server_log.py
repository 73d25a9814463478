"""The log: its two formats, request ids, traces, and that nothing it does can hold up the server."""

import fcntl
import http.client
import json
import os
import re
import socket
import subprocess

import pytest

from conftest import EXAMPLE, PATIENCE_S, SERVER, clean_environment, model_path
from test_server_life import occupy, one_slot, wait_until

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
F_SETPIPE_SZ = 1031


def log_objects(server):
    return [json.loads(line) for line in server.log]


def requests_in(server):
    return [line for line in log_objects(server) if line["msg"] == "request"]


def test_json_lines_are_objects_with_time_level_and_message(start):
    server = start("--log-format", "json", "--log-level", "debug", model=f"quo\"te\\d={model_path()}")
    server.post(b'{"grid": "')
    server.get("/caf%C3%A9%0A%22%FF")
    assert server.stop() == 0
    lines = log_objects(server)
    assert len(lines) > 5
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert line["level"] in ("debug", "info", "warn", "error") and line["msg"]
    assert [line["name"] for line in lines if line["msg"] == "model"] == ['quo"te\\d']
    assert [line["path"] for line in lines if line["msg"] == "request"] == ["/solve", '/café\n"\ufffd']


def test_text_lines_cannot_be_forged(start):
    server = start()
    server.get("/x%0Atime=2000 level=error".replace(" ", "%20"))
    assert server.stop() == 0
    assert all(line.startswith("time=20") for line in server.log)
    assert any('path="/x\\u000atime=2000 level=error"' in line for line in server.log)


def test_each_request_has_a_line(start):
    server = start("--log-format", "json")
    body = json.dumps({"grid": EXAMPLE})
    answer = server.post(body)
    server.get("/nowhere")
    stream = server.request("POST", "/solve", body, {"Accept": "text/event-stream", "X-Request-Id": "of-the-client"})
    wait_until(lambda: len(requests_in(server)) == 3)
    first, second, third = requests_in(server)
    assert (first["method"], first["path"], first["status"], first["outcome"]) == ("POST", "/solve", 200, "ok")
    assert first["received"] == len(body) and first["sent"] == len(answer.body)
    assert first["ms"] > 0 and first["client"] == "127.0.0.1" and "trace_id" not in first
    assert first["id"] == answer.headers["X-Request-Id"] == answer.json()["id"]
    assert (second["method"], second["path"], second["status"], second["outcome"]) == ("GET", "/nowhere", 404, "refused")
    assert third["id"] == "of-the-client" and third["sent"] == len(stream.body)


def test_a_client_that_leaves_is_logged_as_gone(start):
    server = one_slot(start, "--log-format", "json")
    connection, _ = occupy(server)
    connection.sock.close()
    connection.close()
    wait_until(lambda: requests_in(server))
    assert requests_in(server)[0]["outcome"] == "gone"


def test_the_lines_can_be_switched_off(start):
    server = start("--access-log", "false")
    server.solve(EXAMPLE)
    assert server.stop() == 0
    assert not any('msg="request"' in line for line in server.log)


def test_a_good_request_id_is_kept_on_every_kind_of_answer(start):
    server = start("--max-body", "1024")
    for method, path, body in (("GET", "/health/live", None), ("GET", "/nowhere", None), ("POST", "/solve", "{"),
                               ("POST", "/solve", b" " * 5000), ("GET", "/metrics", None), ("GET", "/solve", None)):
        reply = server.request(method, path, body, {"X-Request-Id": "abc-123"})
        assert reply.headers["X-Request-Id"] == "abc-123", (path, reply.status)


@pytest.mark.parametrize("given", ["", "a b", 'a"b', "x" * 65, "caf\u00e9"])
def test_a_bad_request_id_is_replaced(shared_server, given):
    reply = shared_server.request("GET", "/health/live", headers={"X-Request-Id": given.encode("utf-8")})
    assert re.fullmatch(r"[0-9a-f]{8}-\d+", reply.headers["X-Request-Id"])


def test_ids_that_are_made_differ(shared_server):
    ids = [shared_server.get("/health/live").headers["X-Request-Id"] for _ in range(3)]
    assert len(set(ids)) == 3


def test_a_traceparent_is_logged(start):
    server = start("--log-format", "json")
    server.request("GET", "/health/live", headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    server.request("GET", "/health/live", headers={"traceparent": "00-nonsense"})
    wait_until(lambda: len(requests_in(server)) == 2)
    good, bad = requests_in(server)
    assert good["trace_id"] == TRACE and good["parent_id"] == SPAN
    assert "trace_id" not in bad and "parent_id" not in bad


class Quiet:
    """A server whose stderr is `stderr`, or closed if that is None; it listens on a port of our choice. `options` are
    those of Popen."""

    def __init__(self, stderr, **options):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        command = [SERVER, "--port", str(self.port), "--model", model_path()]
        if stderr is None:
            command = ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *command]
        self.process = subprocess.Popen(command, stderr=stderr, env=clean_environment(), **options)
        wait_until(self.is_up)

    def is_up(self):
        assert self.process.poll() is None
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except ConnectionRefusedError:
            return False
        return True

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def get(self, path):
        """The whole answer, read to its end: bytes that are no HTTP would be seen."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as raw:
            raw.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while piece := raw.recv(65536):
                answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 "), answer
        assert int(re.search(rb"Content-Length: (\d+)", head).group(1)) == len(body)
        return body

    def dropped(self):
        return float(re.search(rb"^trm_log_lines_dropped_total (.*)$", self.get("/metrics"), re.M).group(1))

    def stop(self):
        self.process.terminate()
        return self.process.wait(PATIENCE_S)


def test_a_pipe_that_nobody_reads_holds_nothing_up():
    reader, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, 16384)
    server = Quiet(writer)
    os.close(writer)
    for _ in range(200):
        server.get("/health/live")
    assert server.dropped() > 50
    assert os.read(reader, 1 << 20)
    server.get("/health/live")
    server.get("/health/live")
    assert server.stop() == 0
    rest = os.read(reader, 1 << 20).decode()
    os.close(reader)
    assert re.search(r'level=warn msg="lines of the log were lost" lines=\d+', rest)


def test_a_full_disk_holds_nothing_up():
    with open("/dev/full", "w") as full:
        server = Quiet(full)
        server.get("/health/live")
        assert server.dropped() >= 3
        assert server.stop() == 0


def test_a_closed_stderr_is_no_clients_socket():
    server = Quiet(None)
    for _ in range(20):
        assert server.get("/health/live") == b'{"status":"live"}\n'
    assert os.readlink(f"/proc/{server.process.pid}/fd/2") == "/dev/null"
    assert server.stop() == 0


def test_a_reader_that_goes_away_ends_nothing():
    reader, writer = os.pipe()
    server = Quiet(writer)
    os.close(writer)
    os.close(reader)
    server.get("/health/live")
    assert server.dropped() >= 1
    assert server.stop() == 0
