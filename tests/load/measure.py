"""measure.py - what a server of this build does under load, on this machine; `make load` runs it.

    measure.py [--seconds N] [--json] [idle] [saturated] [storm] [streams]

Starts servers with default settings (but for the log of requests, which is off) on the bundled model. The
generator takes its processor time from the same cores: the figures are those of a server that shares its machine."""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "behaviour"))

from conftest import SERVER, Server, model_path  # noqa: E402

BUILD = os.path.dirname(SERVER)
ALL_STEPS = {"max_steps": 16, "no_halt": True}
STREAMS, READ_RATE = 1000, 200  # bytes a second: a stream of 16 steps takes more than a minute


def command_of(server, rate, seconds, *flags, options=None):
    return [os.path.join(BUILD, "tests", "load"), "--url", f"http://127.0.0.1:{server.port}", "--rate", str(int(rate)),
            "--seconds", str(int(seconds)), "--options", json.dumps(options or {}), "--timeout", "600", "--json",
            *map(str, flags)]


def load(*args, **kwargs):
    """The report of the generator; that a request got no answer is in it too."""
    result = subprocess.run(command_of(*args, **kwargs), stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return json.loads(result.stdout)


def metrics(server):
    sums = {}
    for line in server.get("/metrics").body.decode().splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            name = name.split("{")[0]
            sums[name] = sums.get(name, 0) + float(value)
    return sums


def memory_mb(server):
    with open(f"/proc/{server.process.pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1024


class Memory(threading.Thread):
    """The largest resident memory while a `with` block runs."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.most, self.over = server, 0, threading.Event()

    def run(self):
        while not self.over.wait(0.2):
            self.most = max(self.most, memory_mb(self.server))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


def start(*flags):
    return Server("--access-log", "false", *flags)


def ratio(a, b):
    return round(a / b, 3)


def idle(seconds):
    """One client with one connection: what its requests take beside the computing."""
    server = start()
    report = load(server, 10, seconds, "--connections", 1)
    server.stop()
    beside = report["beside_compute_ms"]
    return {"added_ms_p50": beside["p50"], "added_ms_p99": beside["p99"], "of_which_generator_ms_p50":
            report["generator_ms"]["p50"], "of_which_generator_ms_p99": report["generator_ms"]["p99"]}


def bench(workers, seconds):
    """(steps a second by the clock on the wall, steps a second of processor time)"""
    result = subprocess.run([os.path.join(BUILD, "trm-bench"), "--model", model_path(), "--threads", str(workers),
                             "--seconds", str(int(seconds)), "--json"], stdout=subprocess.PIPE, text=True, check=True)
    team = json.loads(result.stdout)["scaling"][-1]
    assert team["threads"] == workers
    return team["steps_per_second"], team["steps_per_second"] / (team["cpu_share"] * workers)


def steps_over_http(server, seconds):
    """The same two of a saturated server, without the beginning and the end."""
    client = subprocess.Popen(command_of(server, 100, seconds + 3, options=ALL_STEPS), stdout=subprocess.DEVNULL)
    time.sleep(2)
    before, began = metrics(server), time.monotonic()
    time.sleep(seconds)
    after, passed = metrics(server), time.monotonic() - began
    assert after["trm_queue_length"] > 0, "this machine is faster than the load"
    client.wait()
    steps = after["trm_steps_total"] - before["trm_steps_total"]
    return steps / passed, steps / (after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"])


def saturated(seconds):
    """Supervision steps over HTTP against those of trm-bench on as many threads, by turns."""
    server = start()
    workers = int(metrics(server)["trm_workers"])
    rounds = [(bench(workers, seconds), steps_over_http(server, seconds)) for _ in range(3)]
    server.stop()
    return {"http_steps_per_s": max(http[0] for _, http in rounds),
            "bench_steps_per_s": max(alone[0] for alone, _ in rounds),
            "http_over_bench": statistics.median(ratio(http[0], alone[0]) for alone, http in rounds),
            "http_over_bench_in_processor_time":
                statistics.median(ratio(http[1], alone[1]) for alone, http in rounds)}


def storm(seconds):
    """Ten times what it can do; before and after it one and a half times."""
    server = start()
    unloaded = load(server, 5, seconds / 2)["latency_ms"]["p99"]
    rough = load(server, 500, 3)["goodput_per_s"]
    before = load(server, 1.5 * rough, seconds / 2)["goodput_per_s"]
    at_rest = memory_mb(server)
    limit = metrics(server)["trm_queue_limit"]
    with Memory(server) as memory:
        report = load(server, 10 * before, seconds, "--connections", 4000)
    afterwards = memory_mb(server)
    after = load(server, 1.5 * rough, seconds / 2)["goodput_per_s"]
    server.stop()
    bound = 2 * unloaded + 1000 * limit / report["goodput_per_s"]
    return {"offered_per_s": int(10 * before), "requests": report["requests"], "statuses": report["statuses"],
            "without_response": report["errors"], "cut": report["cut"],
            "accepted_ms_p99": report["latency_ms"]["p99"], "bound_ms": bound,
            "refused_ms_p99": report.get("refused_ms", {}).get("p99"), "generator_ms_p99": report["generator_ms"]["p99"],
            "memory_mb_before": at_rest, "memory_mb_most": memory.most, "memory_mb_after": afterwards,
            "solved_per_s_before": before, "solved_per_s_storm": report["goodput_per_s"], "solved_per_s_after": after,
            "after_over_before": ratio(after, before)}


def streams(seconds):
    """Other clients before and while many streams are open that are read slowly."""
    server = start("--max-connections", str(STREAMS + 100))
    load(server, 5, 2)
    at_rest = memory_mb(server)
    alone = load(server, 10, seconds)["latency_ms"]
    readers = subprocess.Popen(command_of(server, STREAMS / 5, 5, "--stream", "sse", "--read-rate", READ_RATE,
                                          options=ALL_STEPS), stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with Memory(server) as memory:
        time.sleep(5)
        while metrics(server)["trm_slots_busy"] > 0:  # others would wait for the computing, not for the readers
            time.sleep(0.5)
        opened = metrics(server)["trm_requests_unanswered"] - 1
        beside = load(server, 10, seconds)["latency_ms"]
        still = metrics(server)["trm_requests_unanswered"] - 1
    report = json.loads(readers.communicate()[0])
    server.stop()
    return {"open_at_first": opened, "open_at_last": still, "statuses": report["statuses"], "cut": report["cut"],
            "memory_mb_before": at_rest, "memory_mb_most": memory.most,
            "kb_each": 1024 * (memory.most - at_rest) / STREAMS, "others_ms_p50_alone": alone["p50"],
            "others_ms_p50_beside": beside["p50"], "others_ms_p99_alone": alone["p99"],
            "others_ms_p99_beside": beside["p99"]}


def main():
    scenes = {"idle": idle, "saturated": saturated, "storm": storm, "streams": streams}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, help="how long each measurement takes (default 10)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("scenes", nargs="*", metavar="|".join(scenes), help="default: all")
    arguments = parser.parse_args()
    if not set(arguments.scenes) <= set(scenes):
        parser.error("there are: " + ", ".join(scenes))
    results = {}
    for name in arguments.scenes or scenes:
        results[name] = scenes[name](arguments.seconds)
        if not arguments.json:
            print(f"{name}: {scenes[name].__doc__}")
            for what, value in results[name].items():
                print(f"  {what:34} {round(value, 2) if isinstance(value, float) else value}")
            sys.stdout.flush()
    if arguments.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
