"""Puzzles for locust (https://locust.io; from PyPI), whose users wait for an answer and think a while:

    locust -f tests/load/locustfile.py --host http://127.0.0.1:8080

One in four watches the steps. A full queue (429) is an answer, not a failure."""

import csv
import itertools
import json
import os

from locust import HttpUser, between, task

PUZZLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "behaviour", "puzzles.csv")

with open(PUZZLES, newline="") as file:
    questions = itertools.cycle([row["question"] for row in csv.DictReader(file)])


class Solver(HttpUser):
    wait_time = between(0.1, 1)

    def post(self, name, accept):
        return self.client.post("/solve", json={"grid": next(questions)}, headers={"Accept": accept}, name=name,
                                catch_response=True)

    def judge(self, response, last_line):
        if response.status_code in (429, 503):
            response.success()
        elif response.status_code != 200 or "halted_by" not in json.loads(last_line):
            response.failure(f"status {response.status_code}, no answer")

    @task(3)
    def solve(self):
        with self.post("solve", "application/json") as response:
            self.judge(response, response.text)

    @task(1)
    def watch(self):
        with self.post("watch", "application/x-ndjson") as response:
            self.judge(response, response.text.strip().rsplit("\n", 1)[-1])
