"""GET /metrics, read by the parser of Prometheus' own client."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families

from conftest import EXAMPLE, model_path
from test_server_life import occupy, one_slot, wait_until
from test_server_reload import HARD


class Metrics:
    def __init__(self, server):
        reply = server.get("/metrics")
        assert reply.status == 200
        assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        self.size = len(reply.body)
        self.families = {family.name: family for family in text_string_to_metric_families(reply.body.decode())}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def sum(self, name, **labels):
        return sum(sample.value for sample in self.samples
                   if sample.name == name and labels.items() <= sample.labels.items())

    def __sub__(self, before):
        """The growth of a sample since `before`, as a function like sum()."""
        return lambda name, **labels: self.sum(name, **labels) - before.sum(name, **labels)


def growth(server, work):
    before = Metrics(server)
    work()
    return Metrics(server) - before


def test_every_family_has_a_type_a_help_text_and_one_place(shared_server):
    shared_server.solve(EXAMPLE)
    lines = shared_server.get("/metrics").body.decode().splitlines()
    helped = [line.split()[2] for line in lines if line.startswith("# HELP ")]
    typed = [line.split()[2] for line in lines if line.startswith("# TYPE ")]
    assert helped == typed and len(set(typed)) == len(typed)
    metrics = Metrics(shared_server)
    for family in metrics.families.values():
        assert family.type in ("counter", "gauge", "histogram") and family.documentation
        assert family.samples or family.name == "trm_requests"
    names = [line.split("{")[0].split()[0] for line in lines if not line.startswith("#")]
    assert names and all(name.startswith(("trm_", "process_")) for name in names)


def test_histograms_are_cumulative_and_end_with_their_count(shared_server):
    shared_server.solve(HARD)
    metrics = Metrics(shared_server)
    histograms = [family for family in metrics.families.values() if family.type == "histogram"]
    assert {"trm_request_duration_seconds", "trm_queue_wait_seconds", "trm_first_step_seconds", "trm_solve_steps",
            "trm_batch_occupancy"} <= {family.name for family in histograms}
    for family in histograms:
        series = {}
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                labels = {k: v for k, v in sample.labels.items() if k != "le"}
                series.setdefault(json.dumps(labels), []).append((float(sample.labels["le"]), sample.value))
        for labels, buckets in series.items():
            bounds, counts = zip(*buckets)
            assert list(bounds) == sorted(set(bounds)) and bounds[-1] == float("inf")
            assert list(counts) == sorted(counts)
            assert counts[-1] == metrics.sum(f"{family.name}_count", **json.loads(labels))


def test_puzzles_steps_and_halts_are_counted(start):
    server = start()
    answers = []
    grown = growth(server, lambda: answers.extend([
        server.solve(HARD), server.solve(HARD, max_steps=1, no_halt=True),
        server.solve(EXAMPLE, verify=False, halt_threshold=-1e9, min_steps=3)]))
    steps = [answer["steps"] for answer in answers]
    assert [answer["halted_by"] for answer in answers] == ["verified", "max_steps", "q_head"]
    for reason in ("verified", "max_steps", "q_head"):
        assert grown("trm_puzzles_total", model="sudoku", halted_by=reason) == 1
    assert grown("trm_puzzles_total") == grown("trm_puzzles_accepted_total") == 3
    assert grown("trm_steps_total", model="sudoku") == sum(steps)
    assert grown("trm_solve_steps_count") == 2 and grown("trm_solve_steps_sum") == steps[0] + steps[2]
    assert grown("trm_first_step_seconds_count") == grown("trm_queue_wait_seconds_count") == 3
    assert grown("trm_batch_occupancy_count") == grown("trm_rounds_total") > 0
    assert grown("trm_busy_seconds_total") > 0


def test_requests_are_counted_by_route_method_outcome_and_status(start):
    server = start()

    def work():
        server.solve(EXAMPLE)
        server.post(b"{")
        server.get("/solve")
        server.get("/nowhere")
        server.request("BREW", "/nowhere")
        server.request("HEAD", "/health/live")
        server.get("/v2/models/sudoku")

    grown = growth(server, work)
    for count, labels in ((1, {"route": "/solve", "method": "POST", "outcome": "ok", "status": "2xx"}),
                          (1, {"route": "/solve", "method": "POST", "outcome": "refused", "status": "4xx"}),
                          (1, {"route": "/solve", "method": "GET", "outcome": "refused", "status": "4xx"}),
                          (1, {"route": "other", "method": "GET", "outcome": "refused", "status": "4xx"}),
                          (1, {"route": "other", "method": "other", "outcome": "refused", "status": "4xx"}),
                          (1, {"route": "/health/live", "method": "HEAD", "outcome": "ok", "status": "2xx"}),
                          (1, {"route": "/v2/models/{model}", "outcome": "ok"}),
                          (1, {"route": "/metrics"})):
        assert grown("trm_requests_total", **labels) == count, labels
    assert grown("trm_request_duration_seconds_count", route="/solve") == 3
    assert grown("trm_connections_accepted_total") == 8


def test_bytes_are_those_of_the_bodies(start):
    server = start()
    body = json.dumps({"grid": EXAMPLE})
    scrape = Metrics(server)
    before = scrape.sum("trm_sent_bytes_total")
    sent = [len(server.post(body).body),
            len(server.request("POST", "/solve", body, {"Accept": "application/x-ndjson"}).body)]
    server.request("HEAD", "/models")
    after = Metrics(server)
    assert (after - scrape)("trm_received_bytes_total") == 2 * len(body)
    assert after.sum("trm_sent_bytes_total") - before == sum(sent) + scrape.size


def test_what_waits_runs_and_is_shed_is_shown(start):
    server = one_slot(start, "--max-queue", "1")
    connection, _ = occupy(server)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.post, {"grid": EXAMPLE, "options": {"deadline_ms": 20000, "max_steps": 1}})
        wait_until(lambda: Metrics(server).sum("trm_queue_length", model="sudoku") == 1)
        metrics = Metrics(server)
        assert metrics.sum("trm_slots_busy") == metrics.sum("trm_slots") == 1
        assert metrics.sum("trm_requests_unanswered") >= 2
        assert server.post({"grid": EXAMPLE}).status == 429
        metrics = Metrics(server)
        assert metrics.sum("trm_requests_total", route="/solve", outcome="shed", status="4xx") == 1
        connection.sock.close()
        connection.close()
        assert waiting.result().status == 200
    wait_until(lambda: Metrics(server).sum("trm_requests_total", route="/solve", outcome="gone") == 1)
    metrics = Metrics(server)
    assert metrics.sum("trm_puzzles_total", halted_by="cancelled") == 1
    assert metrics.sum("trm_queue_length") == metrics.sum("trm_slots_busy") == 0


def test_reading_resets_nothing_and_counters_never_fall(start):
    server = start()
    server.solve(EXAMPLE)
    first, second = Metrics(server), Metrics(server)
    counters = [sample for family in first.families.values() if family.type in ("counter", "histogram")
                for sample in family.samples]
    assert counters
    for sample in counters:
        assert second.sum(sample.name, **sample.labels) >= sample.value


def test_the_model_the_build_and_the_process_are_described(start):
    began = time.time()
    server = start("--dtype", "f32", model=f"a\\b\"c={model_path()}")
    metrics = Metrics(server)
    (info,) = [sample for sample in metrics.samples if sample.name == "trm_model_info"]
    assert info.value == 1
    assert info.labels == {"model": 'a\\b"c', "arch": "trm", "dtype": "f32", "puzzle": "sudoku"}
    (build,) = [sample for sample in metrics.samples if sample.name == "trm_build_info"]
    assert build.value == 1 and build.labels["version"]
    assert began - 2 < metrics.sum("process_start_time_seconds") < time.time() + 1
    with open(f"/proc/{server.process.pid}/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    assert resident / 2 < metrics.sum("process_resident_memory_bytes") < resident * 2
    assert 5 < metrics.sum("process_open_fds") < metrics.sum("process_max_fds")
    assert metrics.sum("process_cpu_seconds_total") > 0


def test_connections_are_those_that_are_open(start):
    server = start()
    idle = [server.connect() for _ in range(5)]
    for connection in idle:
        connection.request("GET", "/health/live")
        connection.getresponse().read()
    assert Metrics(server).sum("trm_connections_open") == 6
    for connection in idle:
        connection.close()
    wait_until(lambda: Metrics(server).sum("trm_connections_open") == 1)


def test_without_metrics_there_is_no_such_path(start):
    assert start("--metrics", "false").get("/metrics").status == 404


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_metrics_are_only_read(shared_server, method):
    reply = shared_server.request(method, "/metrics")
    assert reply.status == 405 and reply.headers["Allow"] == "GET, HEAD"
