"""Faults under load: clients that are killed, checkpoints that come and go, a log that cannot be written, SIGTERM.
Patient clients must not notice, and when all is over nothing may be left: no slot, no place, no file, no memory.

TRM_FAULT_SECONDS is how long each fault goes on (default: 2)."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import EXAMPLE, PATIENCE_S, flat, model_path, puzzles, sse_events
from test_load import LOAD
from test_server_hangup import leave_somehow, metrics
from test_server_life import wait_until
from test_server_log import Quiet
from test_server_reload import KEY, other_shape, reload, replace

FAULT_S = float(os.environ.get("TRM_FAULT_SECONDS", "2"))
MORE_MEMORY = 16 << 20  # what a second storm may add to the memory of the first
ACCEPTS = ["application/json", "text/event-stream", "application/x-ndjson"]
PUZZLES = puzzles()


def answer_of(response, accept):
    """The answer at the end of a response; fails if it was cut short."""
    if accept == "text/event-stream":
        *_, (kind, data) = sse_events(response)
        assert kind == "answer", data
        return data
    return json.loads(response.read().splitlines()[-1])


class Patient(threading.Thread):
    """A client that asks one thing after the other and waits for each answer, until told to stop or refused
    a connection. Its `statuses` are those of whole responses; `failure` is what it did not expect."""

    def __init__(self, server, seed):
        super().__init__(daemon=True)
        self.server, self.random = server, random.Random(seed)
        self.statuses, self.failure = [], None
        self.leave = threading.Event()
        self.start()

    def run(self):
        connection = self.server.connect()
        try:
            while not self.leave.is_set():
                self.ask(connection)
        except Exception as failure:
            self.failure = failure
        finally:
            connection.close()

    def ask(self, connection):
        question, solution = self.random.choice(PUZZLES)
        accept = self.random.choice(ACCEPTS)
        connection.request("POST", "/solve", json.dumps({"grid": question}), {"Accept": accept})
        response = connection.getresponse()
        if response.status == 200:
            answer = answer_of(response, accept)
            assert answer["halted_by"] != "verified" or flat(answer["answer"]) == solution
            assert flat(answer["answer"]) == solution or not answer["valid"]
        else:
            response.read()
            assert response.status in (429, 503)
        self.statuses.append(response.status)


class Patients:
    """Several of them; the end of a `with` block tells them to stop, and fails with the first that failed."""

    def __init__(self, server, count=4):
        self.all = [Patient(server, seed) for seed in range(count)]

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for patient in self.all:
            patient.leave.set()
        for patient in self.all:
            patient.join(PATIENCE_S)
            assert not patient.is_alive()
            if kind is None and patient.failure:
                raise patient.failure
            assert kind or 200 in patient.statuses


def moments():
    """Time and again, until the fault has gone on for long enough."""
    end = time.monotonic() + FAULT_S
    while time.monotonic() < end:
        yield end - time.monotonic()


def is_sanitized():
    """Sanitizers keep freed memory for a while."""
    with open(os.path.join(os.path.dirname(LOAD), "..", "trm-server"), "rb") as file:
        program = file.read()
    return b"__asan_init" in program or b"__tsan_init" in program


def assert_nothing_is_held(server, before):
    """`before` is metrics() of the server at rest."""
    wait_until(lambda: metrics(server)["trm_requests_unanswered"] == 1)  # this one
    wait_until(lambda: metrics(server)["process_open_fds"] <= before["process_open_fds"])
    after = metrics(server)
    assert after["trm_slots_busy"] == after["trm_queue_length"] == 0
    assert after["trm_puzzles_accepted_total"] == after["trm_puzzles_total"]
    assert after["process_resident_memory_bytes"] <= before["process_resident_memory_bytes"] + MORE_MEMORY or is_sanitized()


def kill_some(server, rng):
    """A process with many connections that dies while it sends and reads."""
    stream = rng.choice([[], ["--stream", "sse"], ["--stream", "ndjson"]])
    client = subprocess.Popen([LOAD, "--url", f"http://127.0.0.1:{server.port}", "--rate", "400", "--connections", "100",
                               "--options", json.dumps({"max_steps": 1000, "no_halt": True}), *stream],
                              stdout=subprocess.DEVNULL)
    time.sleep(rng.random())
    client.kill()
    client.wait(PATIENCE_S)


def storm_of_clients(server, seed):
    rng = random.Random(seed)
    for _ in moments():
        if rng.random() < 0.1 and os.path.exists(LOAD):
            kill_some(server, rng)
        else:
            leave_somehow(server, rng)


def test_clients_that_are_killed_leave_nothing_behind(start):
    server = start("--step-limit", "1000000", "--slots", "4", "--max-queue", "64", "--body-timeout", "1",
                   "--head-timeout", "2")
    before = None
    for storm in range(2):  # the memory of the first may be kept, for the second
        with Patients(server), ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda seed: storm_of_clients(server, seed), range(8 * storm, 8 * storm + 8)))
        if before:
            assert_nothing_is_held(server, before)
        else:
            wait_until(lambda: metrics(server)["trm_connections_open"] == 1)
            before = metrics(server)
    assert before["trm_puzzles_total"] > 20
    assert server.stop() == 0


def mapped(server, path):
    with open(f"/proc/{server.process.pid}/maps") as file:
        return sum(path in line for line in file)


def test_checkpoints_come_and_go_unnoticed(start, tmp_path):
    served = str(tmp_path / "sudoku.safetensors")
    shutil.copy(model_path(), served)
    server = start("--admin-key", KEY, model=served)
    with open(model_path(), "rb") as file:
        content = file.read()
    spoils = [lambda: replace(served, b""), lambda: replace(served, content[:len(content) // 2]),
              lambda: replace(served, os.urandom(5000)), lambda: other_shape(served), lambda: os.unlink(served)]
    rng, before, refused = random.Random(1), None, 0
    for storm in range(2):  # as above
        with Patients(server) as patients:
            for _ in moments():
                rng.choice(spoils)()
                assert reload(server).status == 422
                replace(served, content)
                assert reload(server).status == 200
                refused += 1
            assert all(patient.failure is None for patient in patients.all)
        if before:
            assert_nothing_is_held(server, before)
        else:
            wait_until(lambda: metrics(server)["trm_connections_open"] == 1)
            before = metrics(server)
    wait_until(lambda: mapped(server, served) <= 1)  # replaced ones are not kept
    assert {429, 503}.isdisjoint(status for patient in patients.all for status in patient.statuses)
    assert refused > 0 and server.stop() == 0


def serve_with_full_log(path, **options):
    """Under load until lines are lost, then room is made: the log goes on, and says what it has lost."""
    with open(path, "ab") as log:
        server = Quiet(log, **options)
    with Patients(server) as patients:
        for left in moments():
            time.sleep(min(left, 0.1))
        wait_until(lambda: server.dropped() > 0)
    assert sum(len(patient.statuses) for patient in patients.all) > 0
    os.truncate(path, 0)
    server.get("/health/live")
    server.get("/health/live")
    assert server.stop() == 0
    with open(path) as file:
        assert "lines of the log were lost" in file.read()


def test_a_log_at_its_limit_of_size_holds_nothing_up(tmp_path):
    limit = (8192, resource.RLIM_INFINITY)
    serve_with_full_log(tmp_path / "log", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))


def test_a_full_disk_holds_nothing_up(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("nobody may mount here")
    try:
        serve_with_full_log(disk / "log")
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_nothing_accepted_is_lost_at_sigterm(start):
    """Every answer that the server says it has given was received, and it has given up none."""
    for seed in range(1 + int(FAULT_S) // 5):
        server = start("--log-format", "json", "--slots", "2", "--workers", "1", "--max-queue", "20")
        patients = [Patient(server, seed=100 * seed + i) for i in range(12)]
        wait_until(lambda: sum(len(patient.statuses) for patient in patients) > 12)
        time.sleep(random.Random(seed).random() * 0.2)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not any(patient.is_alive() for patient in patients))
        assert server.process.wait(PATIENCE_S) == 0
        server.reader.join(PATIENCE_S)
        for patient in patients:
            assert isinstance(patient.failure, ConnectionError), patient.failure  # there is nobody any more
        received = [status for patient in patients for status in patient.statuses]
        requests = [line for line in map(json.loads, server.log) if line["msg"] == "request"]
        outcomes = [line["outcome"] for line in requests if line["received"] > 0]  # else its body was still to come
        assert set(outcomes) <= {"ok", "shed"}
        assert outcomes.count("ok") == received.count(200)
        assert outcomes.count("shed") >= received.count(429) + received.count(503)


def test_clients_that_keep_their_connections_do_not_keep_others_out(start):
    """Four connections are all there is, and twelve clients that never close theirs."""
    server = start("--max-connections", "4", "--idle-timeout", "3600")
    clients = [server.raw() for _ in range(12)]
    for client in clients:
        client.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    for client in clients:
        assert client.recv(12) == b"HTTP/1.1 200"
    for client in clients:
        client.close()
