"""The load generator: what it counts, and that its times run from when a request was due."""

import json
import os
import shutil
import socket
import socketserver
import subprocess
import threading

import pytest

from conftest import PATIENCE_S, ROOT, SERVER
from test_server_life import occupy, one_slot

LOAD = os.path.join(os.path.dirname(SERVER), "tests", "load")
ENDLESS = {"max_steps": 1000000, "no_halt": True}


def run(*flags):
    if not os.path.exists(LOAD):
        pytest.skip(f"{LOAD} was not built")
    return subprocess.run([LOAD, *map(str, flags)], capture_output=True, text=True, timeout=PATIENCE_S, cwd=ROOT)


def load(server, *flags, options=None):
    result = run("--url", f"http://127.0.0.1:{server.port}", "--options", json.dumps(options or {}), "--json", *flags)
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("flags", [[], ["--no-keep-alive"], ["--stream", "sse"], ["--stream", "ndjson"]])
def test_every_request_is_sent_and_counted(shared_server, flags):
    report = load(shared_server, "--rate", 50, "--seconds", 1, *flags)
    assert report["requests"] == 50 and report["statuses"] == {"200": 50}
    assert report["solved"] == 50 and report["cut"] == 0 and report["errors"] == {}
    for times in (report["latency_ms"], report["first_byte_ms"], report["beside_compute_ms"], report["generator_ms"]):
        assert 0 <= times["p50"] <= times["p90"] <= times["p99"] <= times["p99.9"] <= times["max"]
    assert report["first_byte_ms"]["p50"] <= report["latency_ms"]["p50"]
    assert report["beside_compute_ms"]["p50"] < report["latency_ms"]["p50"]
    assert report["elapsed_s"] >= 0.98 and 0 < report["goodput_per_s"] <= 50 / 0.98


def test_refusals_are_no_failures(start):
    server = one_slot(start, "--max-queue", "2")
    connection, _ = occupy(server)
    report = load(server, "--rate", 20, "--seconds", 1, options={"deadline_ms": 3000})
    connection.close()
    assert report["statuses"] == {"200": 2, "429": 18}
    assert report["refused_ms"]["max"] > 0


ERROR = '"problem":{"type":"urn:trm-server:internal","title":"The server failed","status":500,"detail":"x"}'


@pytest.mark.parametrize("body", ["event: error\ndata: {%s}\n\n" % ERROR, '{"type":"error",%s}\n' % ERROR])
def test_a_stream_that_ends_in_an_error_is_a_failure(body):
    response = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()

    class Failing(socketserver.StreamRequestHandler):
        def handle(self):
            self.request.recv(4096)
            self.wfile.write(response)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Failing) as server:
        threading.Thread(target=server.serve_forever).start()
        result = run("--url", f"http://127.0.0.1:{server.server_address[1]}", "--rate", 5, "--seconds", 1, "--json")
        server.shutdown()
    report = json.loads(result.stdout)
    assert result.returncode == 1 and report["failed"] == 5 and report["goodput_per_s"] == report["cut"] == 0
    assert report["statuses"] == {"200": 5} and report["solved"] == 0


def test_waiting_for_a_connection_is_waiting(start):
    """One connection, and answers of 200 ms: of 20 requests a second the last waits for 19 others."""
    server = start("--step-limit", "1000000")
    report = load(server, "--rate", 20, "--seconds", 1, "--connections", 1, options={**ENDLESS, "deadline_ms": 200})
    assert report["statuses"] == {"200": 20}
    assert report["latency_ms"]["max"] >= 20 * 200 - 1000
    assert report["latency_ms"]["p50"] >= (20 * 200 - 1000) / 2 - 200


def test_answers_can_be_read_slowly(start):
    """16 steps of more than 500 bytes."""
    server = start()
    report = load(server, "--rate", 5, "--seconds", 1, "--stream", "sse", "--read-rate", 4000,
                  options={"max_steps": 16, "no_halt": True})
    assert report["statuses"] == {"200": 5} and report["cut"] == 0
    assert report["latency_ms"]["p50"] - report["first_byte_ms"]["p50"] >= 500


def test_a_request_without_a_response_is_a_failure():
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    result = run("--url", f"http://127.0.0.1:{port}", "--rate", 5, "--seconds", 1, "--json")
    report = json.loads(result.stdout)
    assert result.returncode == 1 and sum(report["errors"].values()) == 5 and report["statuses"] == {}


@pytest.mark.parametrize("flags", [["--rate", "0"], ["--rate"], ["--stream", "tcp"], ["stray"], ["--no-such"]])
def test_wrong_usage_is_status_2(flags):
    result = run(*flags)
    assert result.returncode == 2 and result.stderr.startswith(("load: ", LOAD))


def test_wrk_gets_answers(shared_server):
    if not shutil.which("wrk"):
        pytest.skip("wrk is not installed")
    result = subprocess.run(["wrk", "-t1", "-c4", "-d1", "-s", "tests/load/wrk.lua",
                             f"http://127.0.0.1:{shared_server.port}"],
                            capture_output=True, text=True, timeout=PATIENCE_S, cwd=ROOT, check=True)
    last = result.stdout.splitlines()[-1].split()
    assert int(last[0]) > 0 and last[1] == "solved" and result.stdout.endswith(", 0 refused, 0 not solved or failed\n")
