"""measure.py - what a server of this build does under load, on this machine; `make load` runs it.

    measure.py [--seconds N] [--streams N] [--json] [idle] [saturated] [storm] [streams]

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
READ_RATE = 200  # bytes a second


def command_of(server, rate, seconds, *flags, options=None):
    return [os.path.join(BUILD, "tests", "load"), "--url", f"http://127.0.0.1:{server.port}", "--rate", str(int(rate)),
            "--seconds", str(int(seconds)), "--options", json.dumps(options or {}), "--timeout", "3600", "--json",
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


def idle(arguments):
    """One client with one connection: what its requests take beside the computing."""
    server = start()
    report = load(server, 10, arguments.seconds, "--connections", 1)
    server.stop()
    beside, own = report["beside_compute_ms"], report["generator_ms"]
    return {"added_ms_p50": beside["p50"], "added_ms_p99": beside["p99"], "of_which_generator_ms_p50": own["p50"],
            "of_which_generator_ms_p99": own["p99"]}


def bench(workers, seconds):
    """Steps a second: the best of three rounds."""
    result = subprocess.run([os.path.join(BUILD, "trm-bench"), "--model", model_path(), "--threads", str(workers),
                             "--seconds", str(int(seconds)), "--json"], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout)["steps_per_second"]


def steps_over_http(server, seconds):
    """[(steps a second, part of their time that the workers were in steps)] of three rounds, without the
    beginning and the end of the load."""
    client = subprocess.Popen(command_of(server, 100, seconds + 3, options=ALL_STEPS), stdout=subprocess.DEVNULL)
    time.sleep(2)
    samples = [(time.monotonic(), metrics(server))]
    for _ in range(3):
        time.sleep(seconds / 3)
        samples.append((time.monotonic(), metrics(server)))
    assert samples[-1][1]["trm_queue_length"] > 0, "this machine is faster than the load"
    client.wait()
    return [((after["trm_steps_total"] - before["trm_steps_total"]) / (end - begin),
             (after["trm_busy_seconds_total"] - before["trm_busy_seconds_total"]) / (end - begin) / after["trm_workers"])
            for (begin, before), (end, after) in zip(samples, samples[1:])]


def saturated(arguments):
    """Supervision steps over HTTP against those of trm-bench on as many threads, by turns."""
    server = start()
    workers = int(metrics(server)["trm_workers"])
    turns = [(bench(workers, arguments.seconds), steps_over_http(server, arguments.seconds)) for _ in range(3)]
    server.stop()
    best = [(alone, max(rate for rate, _ in rounds)) for alone, rounds in turns]
    return {"bench_steps_per_s": [alone for alone, _ in best], "http_steps_per_s": [rate for _, rate in best],
            "http_over_bench": statistics.median(rate / alone for alone, rate in best),
            "workers_in_steps": statistics.median(part for _, rounds in turns for _, part in rounds)}


def storm(arguments):
    """Ten times what it can do; before and after it one and a half times."""
    seconds = arguments.seconds
    server = start()
    unloaded = load(server, 5, seconds / 2)["latency_ms"]["p99"]
    rough = load(server, 500, 3)["goodput_per_s"]
    before = load(server, 1.5 * rough, seconds / 2)["goodput_per_s"]
    at_rest = memory_mb(server)
    limits = metrics(server)
    places = limits["trm_queue_limit"] + limits["trm_slots"]
    with Memory(server) as memory:
        report = load(server, 10 * before, seconds, "--connections", int(places) + 500)
    afterwards = memory_mb(server)
    after = load(server, 1.5 * rough, seconds / 2)["goodput_per_s"]
    server.stop()
    rate = (report["statuses"]["200"] - places) / seconds  # without those that were answered after the storm
    return {"offered_per_s": int(10 * before), "requests": report["requests"], "statuses": report["statuses"],
            "without_response": report["errors"], "failed": report["failed"], "cut": report["cut"],
            "accepted_ms_p50": report["latency_ms"]["p50"], "accepted_ms_p99": report["latency_ms"]["p99"],
            "places_over_rate_ms": 1000 * places / rate, "unloaded_ms_p99": unloaded,
            "refused_ms_p50": report["refused_ms"]["p50"], "refused_ms_p99": report["refused_ms"]["p99"],
            "generator_ms_p99": report["generator_ms"]["p99"],
            "memory_mb_before": at_rest, "memory_mb_most": memory.most, "memory_mb_after": afterwards,
            "solved_per_s_before": before, "solved_per_s_storm": rate, "solved_per_s_after": after,
            "after_over_before": after / before}


def streams(arguments):
    """Other clients before and while streams are open that have more to say than their sockets hold."""
    count = arguments.streams
    server = start()
    alone = load(server, 10, arguments.seconds)["latency_ms"]
    at_rest = memory_mb(server)
    readers = subprocess.Popen(command_of(server, count / 5, 5, "--stream", "sse", "--read-rate", READ_RATE,
                                          options={**ALL_STEPS, "max_steps": 200}), stdout=subprocess.DEVNULL)
    with Memory(server) as memory:
        time.sleep(6)
        while metrics(server)["trm_slots_busy"] > 0:  # others would wait for the computing, not for the readers
            time.sleep(0.5)
        beside = load(server, 10, arguments.seconds)["latency_ms"]
        still = metrics(server)["trm_connections_open"] - 1
    readers.kill()
    readers.wait()
    while metrics(server)["trm_connections_open"] > 1:
        time.sleep(0.1)
    afterwards = memory_mb(server)
    server.stop()
    return {"open": still, "memory_mb_before": at_rest, "memory_mb_most": memory.most, "memory_mb_after": afterwards,
            "kb_each": 1024 * (memory.most - at_rest) / count, "others_ms_p50_alone": alone["p50"],
            "others_ms_p50_beside": beside["p50"], "others_ms_p99_alone": alone["p99"],
            "others_ms_p99_beside": beside["p99"]}


def rounded(value):
    if isinstance(value, list):
        return ", ".join(map(rounded, value))
    return f"{value:.3f}" if isinstance(value, float) and value < 10 else \
        f"{value:.1f}" if isinstance(value, float) else str(value)


def main():
    scenes = {"idle": idle, "saturated": saturated, "storm": storm, "streams": streams}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, help="how long each measurement takes (default 10)")
    parser.add_argument("--streams", type=int, default=100, help="how many slow readers (default 100)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("scenes", nargs="*", metavar="|".join(scenes), help="default: all")
    arguments = parser.parse_args()
    if not set(arguments.scenes) <= set(scenes):
        parser.error("there are: " + ", ".join(scenes))
    results = {}
    for name in arguments.scenes or scenes:
        results[name] = scenes[name](arguments)
        if not arguments.json:
            print(f"{name}: {scenes[name].__doc__}")
            for what, value in results[name].items():
                print(f"  {what:28} {rounded(value)}")
            sys.stdout.flush()
    if arguments.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
