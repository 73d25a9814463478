"""A real trm-server on a free port of the loopback, and the little HTTP that its tests need.

TRM_BUILD is the directory of the programs (default: build), TRM_TEST_MODEL the checkpoint to serve
(default: the bundled one), TRM_PATIENCE_S how long a test waits for anything (default: 60)."""

import csv
import glob
import http.client
import json
import os
import queue
import re
import socket
import subprocess
import threading
import time

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SERVER = os.path.join(os.environ.get("TRM_BUILD", os.path.join(ROOT, "build")), "trm-server")
PATIENCE_S = int(os.environ.get("TRM_PATIENCE_S", "60"))  # a test that waits longer has failed

EXAMPLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"


def model_path():
    if "TRM_TEST_MODEL" in os.environ:
        return os.environ["TRM_TEST_MODEL"]
    bundled = sorted(glob.glob(os.path.join(ROOT, "server", "models", "sudoku*.safetensors")))
    if not bundled:
        pytest.skip("no checkpoint in server/models and no TRM_TEST_MODEL")
    return bundled[0]


def clean_environment(extra=None):
    """The environment without settings of a server, plus `extra`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TRM_")}
    return {**kept, **(extra or {})}


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


class Server:
    """One process; its log is read by a thread so that it never blocks."""

    def __init__(self, *flags, model=None, environment=None):
        command = [SERVER, "--port", "0", "--model", model or model_path(), *flags]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT,
                                        env=clean_environment(environment))
        self.log = []
        ports = queue.Queue()
        self.reader = threading.Thread(target=self._read_log, args=(ports,), daemon=True)
        self.reader.start()
        self.port = ports.get(timeout=PATIENCE_S)
        assert self.port is not None, "the server did not start:\n" + "".join(self.log)

    def _read_log(self, ports):
        for line in self.process.stderr:
            self.log.append(line)
            match = re.search(r'"listening".*\bport"?[=:](\d+)', line)
            if match:
                ports.put(int(match.group(1)))
        ports.put(None)

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def request(self, method, path, body=None, headers=None):
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path):
        return self.request("GET", path)

    def post(self, body, headers=None):
        """POST /solve; anything but bytes and text is sent as JSON."""
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        return self.request("POST", "/solve", body, {"Content-Type": "application/json", **(headers or {})})

    def solve(self, grid, **options):
        reply = self.post({"grid": grid, "options": options})
        assert reply.status == 200, reply.body
        return reply.json()

    def raw(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def open_stream(self, body, accept="text/event-stream"):
        """Posts `body` and returns (connection, response) with the response's body unread."""
        connection = self.connect()
        connection.request("POST", "/solve", json.dumps(body),
                           {"Content-Type": "application/json", "Accept": accept})
        response = connection.getresponse()
        assert response.status == 200
        return connection, response

    def is_healthy(self):
        return self.process.poll() is None and self.get("/health/ready").status == 200

    def stop(self):
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            status = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self.reader.join(PATIENCE_S)
        return status


def sse_events(response):
    """Yields (event, data) of a server-sent event stream as they arrive."""
    event = None
    while line := response.readline():
        line = line.decode().rstrip("\n")
        if line.startswith("event: "):
            event = line[len("event: "):]
        elif line.startswith("data: "):
            yield event, json.loads(line[len("data: "):])
        else:
            assert line == "" or line.startswith(":"), line


def puzzles():
    """[(question, answer)] of puzzles.csv: easy, each with one solution."""
    with open(os.path.join(ROOT, "tests", "behaviour", "puzzles.csv"), newline="") as file:
        return [(row["question"], row["answer"]) for row in csv.DictReader(file)]


def flat(answer):
    return "".join(str(cell) for row in answer for cell in row)


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


@pytest.fixture(scope="session")
def shared_server():
    """For tests that leave a server as they found it."""
    server = Server()
    yield server
    assert server.stop() == 0, "".join(server.log)


@pytest.fixture
def start():
    """start(flags...) runs a server that ends with the test."""
    servers = []

    def start_one(*flags, **options):
        servers.append(Server(*flags, **options))
        return servers[-1]

    yield start_one
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(PATIENCE_S)
