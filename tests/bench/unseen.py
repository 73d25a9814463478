#!/usr/bin/python3
"""Adapts an ARC model to tasks that it was not trained on, over HTTP, and counts how many it solves then.

A server of its own gets one task after the other by POST /tasks, with a budget of --seconds each, and then its tests by
POST /solve. A test is solved when one of the two attempts is its output, as ARC's rules say; a task, when all its tests
are."""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time


class Failure(Exception):
    pass


class Client:
    def __init__(self, build, model, seconds, threads, log):
        self.folder = tempfile.TemporaryDirectory()
        command = [os.path.join(build, "trm-server"), "--port", "0", "--model", "arc=" + model, "--tasks-dir", self.folder.name,
                   "--tasks-seconds", str(seconds), "--tasks-threads", str(threads), "--access-log", "false"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.port = None
        for line in self.process.stderr:
            log.write(line)
            if '"listening"' in line:
                self.port = int(line.rsplit("port=", 1)[1])
                break
        if self.port is None:
            raise Failure("the server did not start")

    def ask(self, method, path, body=None, fine=(200, 202)):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request(method, path, json.dumps(body) if body is not None else None)
        response = connection.getresponse()
        data = json.loads(response.read() or b"{}")
        if response.status not in fine:
            raise Failure(f"{method} {path}: {response.status} {data.get('detail')}")
        return data

    def adapt(self, task, options):
        status = self.ask("POST", "/tasks", {"task": task, "options": options})
        while status["state"] in ("waiting", "running"):
            time.sleep(0.5)
            status = self.ask("GET", "/tasks/" + status["id"])
        if status["state"] != "done":
            raise Failure(f"the adaptation {status['state']}: {status.get('detail')}")
        return status["progress"]

    def close(self):
        self.process.terminate()
        self.process.communicate()
        self.folder.cleanup()


def read_names(path):
    with open(path) as file:
        return [name for line in file if (name := line.split("#")[0].strip())]


def measure(client, names, tasks, solutions, options):
    rows = []
    for name in names:
        task = {"train": tasks[name]["train"], "test": [{"input": pair["input"]} for pair in tasks[name]["test"]]}
        progress = client.adapt(task, {key: options[key] for key in ("seconds", "augment", "lr", "seed")})
        solve = {"augment": options["augment"] + 1, "no_halt": True}
        answers = client.ask("POST", "/solve", {"task": task, "options": solve})["answers"]
        right = [truth in answer["attempts"] for answer, truth in zip(answers, solutions[name])]
        rows.append({"task": name, "tests": len(right), "right": sum(right), "updates": progress["updates"],
                     "demonstrations": progress["exact"], "cells": progress["accuracy"]})
        print(f"{name:24} {sum(right)} of {len(right)} tests  {progress['updates']:5} updates  demonstrations "
              f"{100 * progress['exact']:5.1f} %  cells {100 * progress['accuracy']:5.1f} %", file=sys.stderr, flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", help="directory of the programs")
    parser.add_argument("--model", required=True, help="checkpoint of an ARC model")
    parser.add_argument("--from", dest="prefix", required=True, help="prefix of the public data's files")
    parser.add_argument("--subset", default="concept")
    parser.add_argument("--tasks", default="config/data/arc-unseen.txt", help="file of names, one a line")
    parser.add_argument("--seconds", type=int, default=120, help="budget of each task (default 120)")
    parser.add_argument("--threads", type=int, default=1, help="threads of an adaptation (default 1)")
    parser.add_argument("--augment", type=int, default=31, help="augmentations that are learnt and vote (default 31)")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate of the weights (default 1e-3)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="the first so many tasks")
    parser.add_argument("--json", action="store_true", help="print one object")
    arguments = parser.parse_args()
    read = lambda kind: json.load(open(f"{arguments.prefix}_{arguments.subset}_{kind}.json"))
    names = read_names(arguments.tasks)[:arguments.limit]
    client = Client(arguments.build, arguments.model, arguments.seconds, arguments.threads, sys.stderr)
    try:
        rows = measure(client, names, read("challenges"), read("solutions"), vars(arguments))
    finally:
        client.close()
    total = {"model": arguments.model, "seconds": arguments.seconds, "threads": arguments.threads, "augment": arguments.augment,
             "lr": arguments.lr, "tasks": len(rows),
             "solved": sum(row["right"] == row["tests"] for row in rows), "tests": sum(row["tests"] for row in rows),
             "tests_solved": sum(row["right"] for row in rows), "rows": rows}
    if arguments.json:
        print(json.dumps(total))
    else:
        print(f"solved: {total['solved']} of {total['tasks']} tasks, {total['tests_solved']} of {total['tests']} tests, "
              f"with {arguments.seconds} s of adaptation each")


if __name__ == "__main__":
    try:
        main()
    except (Failure, OSError) as problem:
        sys.exit(f"unseen.py: {problem}")
