"""POST /solve: answers, streams, many clients at once."""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import EXAMPLE, flat, model_path, puzzles, sse_events

trained = pytest.mark.skipif("TRM_TEST_MODEL" in os.environ, reason="TRM_TEST_MODEL may have learned nothing")


def rows(text):
    return [text[i:i + 9] for i in range(0, 81, 9)]


def same(answer, other):
    """Equal but for what differs from run to run."""
    volatile = ("id", "timing_ms", "index", "type")
    return {k: v for k, v in answer.items() if k not in volatile} == \
           {k: v for k, v in other.items() if k not in volatile}


@trained
def test_curl_with_its_default_content_type_gets_a_valid_answer(shared_server):
    reply = shared_server.request("POST", "/solve", json.dumps({"grid": EXAMPLE}),
                                  {"Content-Type": "application/x-www-form-urlencoded"})
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    answer = reply.json()
    assert answer["valid"] is True
    assert all(given in (".", found) for given, found in zip(EXAMPLE, flat(answer["answer"])))
    assert answer["halted_by"] == "verified"


def test_an_answer_has_all_its_members(shared_server):
    answer = shared_server.solve(EXAMPLE, max_steps=3, no_halt=True)
    assert set(answer) == {"id", "model", "answer", "valid", "steps", "halted_by", "confidence", "q_halt",
                           "timing_ms"}
    assert [len(row) for row in answer["answer"]] == [9] * 9
    assert answer["steps"] == 3 and len(answer["q_halt"]) == 3 and answer["halted_by"] == "max_steps"
    assert 0 < answer["confidence"] <= 1
    assert set(answer["timing_ms"]) == {"queue", "compute", "total"}
    timing = answer["timing_ms"]
    assert timing["total"] >= timing["compute"] > 0


def test_every_form_of_a_grid_is_the_same_puzzle(shared_server):
    integers = [[0 if c == "." else int(c) for c in row] for row in rows(EXAMPLE)]
    first = shared_server.solve(EXAMPLE, max_steps=2)
    for grid in (EXAMPLE.replace(".", "0"), rows(EXAMPLE), integers, [rows(EXAMPLE)[0], *integers[1:]]):
        assert same(shared_server.solve(grid, max_steps=2), first)


def test_ids_differ(shared_server):
    assert shared_server.solve(EXAMPLE, max_steps=1)["id"] != shared_server.solve(EXAMPLE, max_steps=1)["id"]


def test_grids_are_answered_in_order(shared_server):
    questions = [question for question, _ in puzzles()[:40]]
    reply = shared_server.post({"grids": questions, "options": {"max_steps": 2}})
    assert reply.status == 200
    answers = reply.json()["answers"]
    assert len(answers) == 40
    for question, answer in zip(questions, answers):
        assert same(answer, {k: v for k, v in shared_server.solve(question, max_steps=2).items() if k != "model"})


def test_valid_is_the_verdict_of_the_rules(shared_server):
    """A puzzle's own solution with all cells given: whatever the model answers, `valid` tells whether it is that."""
    for question, solution in puzzles()[:10]:
        answer = shared_server.solve(question, max_steps=16)
        assert answer["valid"] == (flat(answer["answer"]) == solution)


def test_min_steps_and_no_halt_are_obeyed(shared_server):
    assert shared_server.solve(EXAMPLE, max_steps=6, min_steps=4, verify=False, halt_threshold=-1e9)["steps"] == 4
    assert shared_server.solve(EXAMPLE, max_steps=6, verify=False, halt_threshold=-1e9)["steps"] == 1
    assert shared_server.solve(EXAMPLE, max_steps=6, no_halt=True)["steps"] == 6


def test_server_sent_events_come_step_by_step(start):
    """The steps of a puzzle of half a minute are read long before there is an answer."""
    server = start("--step-limit", "100000")
    connection, response = server.open_stream({"grid": EXAMPLE, "options": {"max_steps": 100000, "no_halt": True,
                                                                            "deadline_ms": 1500}})
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.headers["Cache-Control"] == "no-store"
    events = sse_events(response)
    assert [next(events)[1]["step"] for _ in range(3)] == [1, 2, 3]
    assert server.is_healthy()
    last = None
    for last in events:
        pass
    assert last[0] == "answer" and last[1]["halted_by"] == "deadline"
    connection.close()


def check_steps(steps, answer, question):
    assert [step["step"] for step in steps] == list(range(1, len(steps) + 1))
    assert answer["steps"] == len(steps)
    assert answer["q_halt"] == [step["q_halt"] for step in steps]
    assert answer["answer"] == steps[-1]["answer"]
    assert answer["confidence"] == steps[-1]["confidence"]
    before = [[0 if c == "." else int(c) for c in row] for row in rows(question)]
    for step in steps:
        for r, row in enumerate(step["answer"]):
            for c, cell in enumerate(row):
                assert ([r, c] in step["changed"]) or cell == before[r][c]
        before = step["answer"]


def test_every_step_is_an_event_and_the_answer_the_last(shared_server):
    connection, response = shared_server.open_stream({"grid": EXAMPLE, "options": {"max_steps": 16, "no_halt": True}})
    events = list(sse_events(response))
    connection.close()
    assert [kind for kind, _ in events] == ["step"] * 16 + ["answer"]
    check_steps([data for _, data in events[:-1]], events[-1][1], EXAMPLE)
    assert same(events[-1][1], shared_server.solve(EXAMPLE, max_steps=16, no_halt=True))


def test_ndjson_has_one_object_a_line(shared_server):
    connection, response = shared_server.open_stream({"grid": EXAMPLE, "options": {"max_steps": 5, "no_halt": True}},
                                                     "application/x-ndjson")
    assert response.headers["Content-Type"] == "application/x-ndjson"
    messages = [json.loads(line) for line in response.read().decode().splitlines()]
    connection.close()
    assert [message["type"] for message in messages] == ["step"] * 5 + ["answer"]
    check_steps(messages[:-1], messages[-1], EXAMPLE)


def test_streamed_grids_have_an_index(shared_server):
    questions = [question for question, _ in puzzles()[:30]]
    connection, response = shared_server.open_stream({"grids": questions, "options": {"max_steps": 4,
                                                                                     "no_halt": True}})
    events = list(sse_events(response))
    connection.close()
    for index, question in enumerate(questions):
        mine = [(kind, data) for kind, data in events if data["index"] == index]
        assert [kind for kind, _ in mine] == ["step"] * 4 + ["answer"]
        check_steps([data for _, data in mine[:-1]], mine[-1][1], question)


def test_200_puzzles_at_once_are_not_mixed_up(shared_server):
    """Each gets to the bit what it gets alone: then it cannot be another's."""
    questions = [question for question, _ in puzzles()[:200]]
    together = threading.Barrier(200)

    def ask(question):
        together.wait(60)
        return shared_server.solve(question, max_steps=1, no_halt=True)

    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(ask, questions))
    assert len({answer["id"] for answer in answers}) == 200
    for question, answer in list(zip(questions, answers))[::10]:
        assert same(answer, shared_server.solve(question, max_steps=1, no_halt=True))
    assert len({flat(answer["answer"]) for answer in answers}) == 200


@trained
def test_200_puzzles_at_once_are_answered_right(shared_server):
    """Puzzles that singles solve: the bundled model does nearly all of them, and keeps the clues."""
    pairs = puzzles()[:200]
    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda pair: shared_server.solve(pair[0]), pairs))
    right = sum(flat(answer["answer"]) == solution for (_, solution), answer in zip(pairs, answers))
    assert right >= 190
    for (_, solution), answer in zip(pairs, answers):
        assert answer["valid"] == (flat(answer["answer"]) == solution)


def test_a_puzzle_has_the_same_q_values_alone_and_among_63_others(shared_server):
    questions = [question for question, _ in puzzles()[:64]]
    options = {"max_steps": 2, "no_halt": True}
    alone = shared_server.solve(questions[17], **options)
    together = shared_server.post({"grids": questions, "options": options}).json()["answers"][17]
    assert together["q_halt"] == alone["q_halt"]
    assert same(together, {k: v for k, v in alone.items() if k != "model"})


def test_a_deadline_gets_the_best_answer_so_far(start):
    server = start("--step-limit", "1000000")
    answer = server.solve(EXAMPLE, max_steps=1000000, no_halt=True, deadline_ms=300)
    assert answer["halted_by"] == "deadline"
    assert 1 <= answer["steps"] == len(answer["q_halt"]) < 1000000


def test_a_deadline_in_the_queue_gets_the_puzzle_back(start):
    server = start("--workers", "1", "--slots", "1", "--parked-memory", "0", "--step-limit", "1000000")
    connection, response = server.open_stream({"grid": EXAMPLE, "options": {"max_steps": 1000000, "no_halt": True}})
    next(sse_events(response))
    answer = server.solve(EXAMPLE, deadline_ms=50)
    assert answer["halted_by"] == "deadline" and answer["steps"] == 0 and answer["valid"] is False
    assert flat(answer["answer"]) == EXAMPLE.replace(".", "0")
    connection.close()


def test_models_are_chosen_by_name(start):
    path = model_path()
    server = start("--model", f"second={path}", "--model", f"third={path}", model=f"first={path}")
    assert [model["name"] for model in server.get("/models").json()["models"]] == ["first", "second", "third"]
    body = {"grid": EXAMPLE, "options": {"max_steps": 2, "no_halt": True}}
    answers = [server.post({**body, **extra}).json() for extra in ({}, {"model": "second"}, {"model": "third"})]
    assert [answer["model"] for answer in answers] == ["first", "second", "third"]
    assert answers[0]["q_halt"] == answers[1]["q_halt"] == answers[2]["q_halt"]
