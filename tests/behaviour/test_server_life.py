"""Load, clients that leave, signals, options: how a server lives and ends."""

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import EXAMPLE, PATIENCE_S, ROOT, SERVER, clean_environment, model_path, puzzles, sse_events, wait_until

ENDLESS = {"grid": EXAMPLE, "options": {"max_steps": 1000000, "no_halt": True}}


def one_slot(start, *flags):
    """Whoever has the slot keeps it."""
    return start("--workers", "1", "--slots", "1", "--parked-memory", "0", "--step-limit", "1000000", *flags)


def occupy(server):
    """A stream that holds the only slot until its connection is closed."""
    connection, response = server.open_stream(ENDLESS)
    events = sse_events(response)
    next(events)
    return connection, events


def test_a_full_queue_is_429_with_retry_after(start):
    server = one_slot(start, "--max-queue", "2")
    connection, _ = occupy(server)
    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda _: server.post({"grid": EXAMPLE, "options": {"deadline_ms": 1500}}), range(6)))
    statuses = sorted(reply.status for reply in replies)
    assert statuses == [200] * 2 + [429] * 4
    for reply in replies:
        if reply.status == 429:
            assert int(reply.headers["Retry-After"]) >= 1
            assert reply.headers["Content-Type"] == "application/problem+json"
    connection.close()
    wait_until(lambda: server.post({"grid": EXAMPLE, "options": {"max_steps": 1}}).status == 200)


def test_a_client_that_leaves_a_stream_frees_its_slot(start):
    server = one_slot(start)
    for _ in range(3):
        connection, _ = occupy(server)
        connection.sock.close()
        connection.close()
    assert server.solve(EXAMPLE, max_steps=1)["steps"] == 1
    assert server.is_healthy()


def test_a_client_that_leaves_before_its_answer_frees_its_slot(start):
    server = one_slot(start)
    body = json.dumps(ENDLESS).encode()
    for _ in range(3):
        with server.raw() as raw:
            raw.sendall(b"POST /solve HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert server.solve(EXAMPLE, max_steps=1)["steps"] == 1
    assert server.is_healthy()


def test_a_client_that_leaves_in_the_queue_frees_its_place(start):
    server = one_slot(start, "--max-queue", "1")
    connection, _ = occupy(server)
    body = json.dumps(ENDLESS).encode()
    with server.raw() as raw:
        raw.sendall(b"POST /solve HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        wait_until(lambda: server.post({"grid": EXAMPLE, "options": {"deadline_ms": 1}}).status == 429)
    wait_until(lambda: server.post({"grid": EXAMPLE, "options": {"deadline_ms": 1}}).status == 200)
    connection.close()


def test_many_grids_do_not_starve_a_single_one(start):
    """One slot, 200 grids waiting: a puzzle that comes later is second in turn, not 201st."""
    server = one_slot(start)
    questions = [question for question, _ in puzzles()[:200]]
    connection, response = server.open_stream({"grids": questions, "options": {"max_steps": 4, "no_halt": True}})
    events = sse_events(response)
    next(events)
    single = server.solve(EXAMPLE, max_steps=1)
    answers = [data for kind, data in events if kind == "answer"]
    connection.close()
    assert len(answers) == 200
    # Behind all of them it would have taken nearly as long as the last of them.
    assert single["timing_ms"]["total"] < max(answer["timing_ms"]["total"] for answer in answers) / 4


def test_a_slow_reader_gets_new_steps_and_costs_no_memory(start):
    """Nobody reads for 5000 steps of about a kilobyte: some are left out, their order and the end are kept."""
    server = start("--step-limit", "5000", "--workers", "1")
    connection, response = server.open_stream({"grid": EXAMPLE, "options": {"max_steps": 5000, "no_halt": True,
                                                                            "deadline_ms": 4000}})
    wait_until_idle(server)
    events = list(sse_events(response))
    connection.close()
    steps = [data["step"] for kind, data in events if kind == "step"]
    assert events[-1][0] == "answer"
    assert steps == sorted(set(steps)) and steps[-1] == events[-1][1]["steps"]
    before = events[0][1]["answer"]
    for kind, data in events[1:-1]:
        different = [[r, c] for r in range(9) for c in range(9) if data["answer"][r][c] != before[r][c]]
        assert all(cell in data["changed"] for cell in different)
        before = data["answer"]


def wait_until_idle(server):
    """Until the process computes nothing any more."""
    def ticks():
        with open(f"/proc/{server.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    last = -1
    end = time.monotonic() + PATIENCE_S
    while (now := ticks()) != last:
        assert time.monotonic() < end
        last = now
        time.sleep(0.3)


def test_sigterm_finishes_accepted_work(start):
    server = one_slot(start, "--admin-key", "a-key-of-the-admin")
    connection, response = server.open_stream({"grid": EXAMPLE, "options": {
        "max_steps": 1000000, "no_halt": True, "deadline_ms": 2000}})
    events = sse_events(response)
    next(events)
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.get("/health/ready").status == 503)
    assert server.get("/health/live").status == 200
    refused = server.post({"grid": EXAMPLE})
    assert refused.status == 503 and refused.headers["Retry-After"] and refused.headers["Connection"] == "close"
    assert server.request("POST", "/models/sudoku/reload", headers={"Authorization": "Bearer a-key-of-the-admin"}).status == 503
    assert b"\ntrm_draining 1\n" in server.get("/metrics").body
    last = None
    for last in events:
        pass
    assert last[0] == "answer" and last[1]["halted_by"] == "deadline"
    connection.close()
    assert server.process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once(start, number):
    server = start()
    keep_alive = server.connect()
    keep_alive.request("GET", "/health/live")
    keep_alive.getresponse().read()
    server.process.send_signal(number)
    assert server.process.wait(PATIENCE_S) == 0
    keep_alive.close()


def test_a_second_signal_ends_it_anyway(start):
    server = one_slot(start)
    connection, _ = occupy(server)
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.get("/health/ready").status == 503)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE_S) not in (0, None)
    connection.close()


def test_patience_with_accepted_work_ends(start):
    server = one_slot(start, "--drain-timeout", "1")
    connection, _ = occupy(server)
    assert server.stop() == 1
    connection.close()


def run(*flags, environment=None):
    return subprocess.run([SERVER, *flags], capture_output=True, text=True, timeout=PATIENCE_S,
                          env=clean_environment(environment))


def test_help_and_version_need_nothing():
    help_text = run("--help")
    assert help_text.returncode == 0 and "--max-queue" in help_text.stdout and "TRM_MAX_QUEUE" in help_text.stdout
    version = run("--version")
    assert version.returncode == 0 and version.stdout.startswith("trm-server ")


@pytest.mark.parametrize("flags", [[], ["--no-such"], ["--port"], ["--port", "x", "--model", "m"],
                                   ["--port", "70000", "--model", "m"], ["--verify", "maybe", "--model", "m"],
                                   ["--config", "/no/such/file"], ["--backend", "gpu", "--model", "m"], ["stray"]])
def test_wrong_usage_is_status_2(flags):
    result = run(*flags)
    assert result.returncode == 2 and result.stderr.startswith("trm-server: ")


def test_a_missing_model_is_status_1():
    result = run("--model", "/no/such/model.safetensors")
    assert result.returncode == 1 and "/no/such/model.safetensors" in result.stderr


def test_a_taken_port_is_status_1(shared_server):
    result = run("--model", model_path(), "--port", str(shared_server.port))
    assert result.returncode == 1 and "cannot listen" in result.stderr


def test_flag_wins_over_environment_over_file(start, tmp_path):
    config = tmp_path / "server.json"
    config.write_text(json.dumps({"model": [f"of_file={model_path()}"], "step_limit": 2, "max_body": 5000,
                                  "max_queue": 3}))
    server = start("--config", str(config), "--max-queue", "5", environment={"TRM_MAX_BODY": "2048",
                                                                             "TRM_MAX_QUEUE": "4",
                                                                             "TRM_MODEL": "of_environment=/nowhere"},
                   model=f"of_flag={model_path()}")
    assert [model["name"] for model in server.get("/models").json()["models"]] == ["of_flag"]
    assert "to 2" in server.post({"grid": EXAMPLE, "options": {"max_steps": 3}}).json()["detail"]
    assert "2048" in server.post(b" " * 3000).json()["detail"]
    assert "1 to 5" in server.post({"grids": []}).json()["detail"]


def test_the_preset_for_production_is_valid(start):
    server = start("--config", os.path.join(ROOT, "config", "server", "production.json"))
    assert server.is_healthy() and server.log[0].startswith("{")


def test_a_wrong_member_of_the_file_is_named(tmp_path):
    config = tmp_path / "server.json"
    for text, word in (('{"prot": 1}', "prot"), ('{"port": "x"}', "port"), ("{", "line"), ("[]", "object"),
                       ('{"config": "x", "port": 1}', "name another")):
        config.write_text(text)
        result = run("--config", str(config))
        assert result.returncode == 2 and word in result.stderr and str(config)[:60] in result.stderr


def test_the_log_has_a_time_and_a_level_on_each_line(start):
    server = start("--log-level", "debug")
    server.post(b'{"grid": "')
    server.stop()
    assert server.log
    for line in server.log:
        assert line.startswith("time=20") and " level=" in line and ' msg="' in line
    assert os.path.basename(SERVER) == "trm-server"


def test_the_readme_has_the_options_of_the_program():
    table = subprocess.run([SERVER, "--help-markdown"], capture_output=True, text=True, check=True).stdout
    with open(os.path.join(ROOT, "README.md")) as file:
        readme = file.read()
    begin = readme.index("<!-- options")
    assert readme[readme.index("\n", begin) + 1:readme.index("<!-- end of options")] == table, "run `make readme`"
