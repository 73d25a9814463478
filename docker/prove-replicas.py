#!/usr/bin/python3
"""prove-replicas.py failover|scale|monitoring - real servers behind Debian's HAProxy and under its Prometheus.

failover    sends --requests puzzles through the shipped haproxy.cfg to three servers, while one of them is killed
            with requests on their way in it and started again, and another one is drained and started again.
            Every request must be answered with 200.
scale       what one, two ... servers with one worker each solve in a second, as many as there are cores, and of how
            many cores: where other programs take the rest, it must scale with what they got.
monitoring  the shipped rules load and mean what their tests say; every query of the Grafana dashboard, of the
            alerts and of the Kubernetes autoscaler returns numbers.

--namespaces runs each server in a network namespace of its own (root). --build DIR has the programs, `make all
build-tests` makes them. Needs Debian's haproxy, prometheus, iproute2 and python3-yaml. Exit status 0: all is as it
should be."""

import argparse
import contextlib
import csv
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
MODEL = os.path.join(ROOT, "server", "models", "sudoku.safetensors")
PATIENCE_S = 300
NETWORK = "10.213.77"  # of the namespaces


def must(condition, complaint):
    if not condition:
        sys.exit(f"prove-replicas: {complaint}")


def wait_for(what, condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        must(time.monotonic() < end, f"waited {PATIENCE_S} s for {what}")
        time.sleep(0.05)


def wait_until_up(process, condition):
    """As wait_for(), and shows what a process said that ended instead."""
    wait_for(process.name, lambda: process.process.poll() is not None or condition())
    if process.process.poll() is not None:
        with open(process.log, encoding="utf-8") as log:
            must(False, f"{process.name} ended:\n{log.read()}")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def get(url):
    """The body of an answer 200, else None."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except OSError:
        return None


class Process:
    """A program that ends with the script; what it says goes to a file."""

    def __init__(self, name, directory, command, environment=None):
        self.name, self.log = name, os.path.join(directory, name + ".log")
        self.command, self.environment, self.process = command, environment, None

    def start(self):
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log,
                                            env={**os.environ, **(self.environment or {})})

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        return self.process.wait(PATIENCE_S)

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Server(Process):
    """One trm-server with one worker, in the network namespace `namespace` if that is given."""

    def __init__(self, number, options, directory, address="127.0.0.1", namespace=None):
        self.address, self.port = address, 8080 if namespace else free_port()
        within = ["ip", "netns", "exec", namespace] if namespace else []
        super().__init__(f"server{number}", directory, [
            *within, os.path.join(options.build, "trm-server"), "--model", MODEL, "--workers", "1",
            "--host", address, "--port", str(self.port), "--access-log", "false",
            "--tasks-dir", os.path.join(directory, f"tasks{number}")])

    @property
    def place(self):
        return f"{self.address}:{self.port}"

    def is_ready(self):
        return get(f"http://{self.place}/health/ready") is not None

    def start(self):
        super().start()
        wait_until_up(self, self.is_ready)


@contextlib.contextmanager
def namespaces(count):
    """Yields [(name, address)] of `count` network namespaces behind a bridge; they end with the block."""
    def ip(*words):
        subprocess.run(["ip", *words], check=True)

    names = [f"trm-proof-{i}" for i in range(1, count + 1)]
    bridge = "trm-proof"
    try:
        ip("link", "add", bridge, "type", "bridge")
        ip("address", "add", f"{NETWORK}.254/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        for i, name in enumerate(names, 1):
            ip("netns", "add", name)
            ip("link", "add", f"trm-p{i}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"trm-p{i}", "master", bridge, "up")
            ip("-n", name, "address", "add", f"{NETWORK}.{i}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield [(name, f"{NETWORK}.{i}") for i, name in enumerate(names, 1)]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["ip", "link", "delete", bridge], stderr=subprocess.DEVNULL, check=False)


@contextlib.contextmanager
def running(count, options):
    """Yields (directory, servers) with `count` servers that are ready."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        places = [(None, "127.0.0.1")] * count
        if options.namespaces:
            places = stack.enter_context(namespaces(count))
        servers = [Server(i, options, directory, address, name) for i, (name, address) in enumerate(places, 1)]
        for server in servers:
            stack.callback(server.end)
            server.start()
        yield directory, servers


class Proxy(Process):
    """HAProxy with the shipped configuration in front of `servers`."""

    def __init__(self, servers, directory):
        self.port, self.stats = free_port(), free_port()
        replicas = os.path.join(directory, "replicas.cfg")
        with open(replicas, "w", encoding="utf-8") as file:
            file.write("backend replicas\n")
            file.writelines(f"    server {server.name} {server.place}\n" for server in servers)
        command = ["haproxy", "-db", "-f", os.path.join(HERE, "haproxy", "haproxy.cfg"), "-f", replicas]
        super().__init__("haproxy", directory, command, {
            "TRM_PROXY_BIND": f"127.0.0.1:{self.port}", "TRM_PROXY_STATS_BIND": f"127.0.0.1:{self.stats}"})

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        super().start()
        wait_until_up(self, lambda: get(f"{self.url}/health/ready") is not None)

    def table(self):
        """{(proxy, server): row} of HAProxy's counters."""
        text = get(f"http://127.0.0.1:{self.stats}/;csv").removeprefix("# ")
        return {(row["pxname"], row["svname"]): row for row in csv.DictReader(text.splitlines())}

    def requests(self):
        return int(self.table()["public", "FRONTEND"]["req_tot"])


def load(options, url, requests):
    """Starts the load generator: `requests` puzzles, 48 on their way at any time."""
    command = [os.path.join(options.build, "tests", "load"), "--url", url, "--rate", str(requests), "--seconds", "1",
               "--connections", "48", "--options", '{"max_steps": 1}', "--timeout", "120", "--json",
               "--puzzles", os.path.join(ROOT, "tests", "behaviour", "puzzles.csv")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def report_of(generator):
    output = generator.communicate()[0]
    must(generator.returncode == 0, f"the load generator ended with {generator.returncode}:\n{output}")
    return json.loads(output)


def failover(options):
    with running(3, options) as (directory, servers), contextlib.ExitStack() as stack:
        proxy = Proxy(servers, directory)
        stack.callback(proxy.end)
        proxy.start()
        generator = load(options, proxy.url, options.requests)
        stack.callback(generator.kill)

        def at(part):
            wait_for(f"{part:.0%} of the requests", lambda: generator.poll() is not None or
                     proxy.requests() >= part * options.requests)
            must(generator.poll() is None, "the load generator ended too early")
            print(f"  {part:4.0%} of the requests: ", end="", flush=True)

        at(0.2)
        servers[0].signal(signal.SIGSTOP)  # requests get in, and none is answered
        time.sleep(0.3)
        waiting = int(proxy.table()["replicas", servers[0].name]["scur"])
        servers[0].signal(signal.SIGKILL)
        servers[0].wait()
        print(f"{servers[0].name} killed with {waiting} requests on their way")
        must(waiting > 0, "it had nothing to do: this proves nothing")
        at(0.4)
        servers[0].start()
        print(f"{servers[0].name} started again")
        at(0.6)
        servers[1].signal(signal.SIGTERM)
        status = servers[1].wait()
        print(f"{servers[1].name} drained, exit status {status}")
        must(status == 0, "that is no clean end")
        at(0.8)
        servers[1].start()
        print(f"{servers[1].name} started again")
        report = report_of(generator)
        table = proxy.table()
    for server in servers:
        row = table["replicas", server.name]
        print(f"  {server.name}: {row['stot']} requests, {row['wretr']} retried, {row['wredis']} of them elsewhere")
    print(f"  {report['requests']} requests, statuses {report['statuses']}, {report['cut']} cut, errors "
          f"{report['errors']}, {report['solved']} solved, p50 {report['latency_ms']['p50']:.0f} ms")
    must(report["statuses"] == {"200": options.requests} and not report["cut"] and not report["errors"],
         "not every request was answered with 200")
    retried = sum(int(row["wretr"]) for (name, server), row in table.items() if name == "replicas" and server != "BACKEND")
    must(retried > 0, "nothing was retried: this proves nothing")


def processor_seconds(server):
    (line,) = (line for line in get(f"http://{server.place}/metrics").splitlines()
               if line.startswith("process_cpu_seconds_total "))
    return float(line.split()[1])


def scale(options):
    alone = None  # puzzles per second of processor time of one server
    for count in range(1, (os.cpu_count() or 1) + 1):
        with running(count, options) as (directory, servers), contextlib.ExitStack() as stack:
            proxy = Proxy(servers, directory)
            stack.callback(proxy.end)
            proxy.start()
            before = sum(map(processor_seconds, servers))
            report = report_of(load(options, proxy.url, options.requests))
            processor = sum(map(processor_seconds, servers)) - before
        must(report["statuses"] == {"200": options.requests}, f"not every request was answered with 200: {report}")
        rate, each = report["goodput_per_s"], options.requests / processor
        alone = alone or each
        print(f"  {count} servers: {rate:.0f} puzzles a second, {rate / each:.2f} cores of processor time in that, "
              f"{each / alone:.2f} times the work of one server in each")
        must(each > 0.8 * alone, "servers are in each other's way")


# ---- monitoring ----


def dashboard_queries():
    with open(os.path.join(HERE, "grafana", "dashboards", "trm-server.json"), encoding="utf-8") as file:
        dashboard = json.load(file)
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "10s")


def adapter_queries():
    with open(os.path.join(HERE, "kubernetes", "adapter-values.yaml"), encoding="utf-8") as file:
        values = yaml.safe_load(file)
    for rule in values["rules"]["custom"]:
        query = rule["metricsQuery"].replace("<<.GroupBy>>", "instance").replace("<<.LabelMatchers>>", 'job="trm-server"')
        yield rule["name"]["as"], query.replace("[1m]", "[10s]")


class Prometheus(Process):
    """Debian's, with the shipped rules, every second."""

    def __init__(self, servers, directory):
        self.port = free_port()
        config = os.path.join(directory, "prometheus.yaml")
        settings = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": [os.path.join(HERE, "prometheus", "rules.yaml")],
                    "scrape_configs": [{"job_name": "trm-server",
                                        "static_configs": [{"targets": [server.place for server in servers]}]}]}
        with open(config, "w", encoding="utf-8") as file:
            yaml.safe_dump(settings, file)
        super().__init__("prometheus", directory, [
            "prometheus", f"--config.file={config}", f"--web.listen-address=127.0.0.1:{self.port}",
            f"--storage.tsdb.path={directory}/prometheus"])

    def ask(self, path, **parameters):
        text = get(f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        return json.loads(text)["data"] if text else None

    def numbers(self, query):
        """The values that a query has now; None if it is wrong."""
        data = self.ask("query", query=query)
        return None if data is None else [float(sample["value"][1]) for sample in data["result"]]


def monitoring(options):
    shipped = os.path.join(HERE, "prometheus")
    for command in (["check", "config", "prometheus.yaml"], ["test", "rules", "rules_test.yaml"]):
        subprocess.run(["promtool", *command], cwd=shipped, check=True)
    with running(2, options) as (directory, servers), contextlib.ExitStack() as stack:
        prometheus = Prometheus(servers, directory)
        stack.callback(prometheus.end)
        prometheus.start()
        wait_until_up(prometheus, lambda: prometheus.numbers("up") == [1, 1])
        for server in servers:
            must(report_of(load(options, f"http://{server.place}", 200))["solved"] > 0, "nothing was solved")
        time.sleep(3)  # scrapes, of which a rate needs two
        failures = 0
        for name, query in [*dashboard_queries(), *adapter_queries()]:
            numbers = prometheus.numbers(query)
            good = bool(numbers) and any(math.isfinite(number) for number in numbers)
            failures += not good
            print(f"  {'ok    ' if good else 'FAILED'} {name}: {numbers}")
        rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
        for rule in rules:
            failures += rule["health"] != "ok"
            print(f"  {rule['health']} {rule['name']}: {rule['state']}")
        must(rules and not failures, f"{failures} of the queries and rules are wrong")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("proof", choices=["failover", "scale", "monitoring"])
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--namespaces", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    {"failover": failover, "scale": scale, "monitoring": monitoring}[options.proof](options)
    print(f"{options.proof}: as it should be ({time.monotonic() - began:.0f} s)")


if __name__ == "__main__":
    main()
