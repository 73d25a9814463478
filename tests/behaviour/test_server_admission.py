"""Who gets how much of the server: rollouts, priorities, a full queue, less work under load."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import EXAMPLE, flat, puzzles, sse_events

trained = pytest.mark.skipif("TRM_TEST_MODEL" in os.environ, reason="TRM_TEST_MODEL may have learned nothing")

ENDLESS = {"max_steps": 1000000, "no_halt": True}


def one_slot(start, *flags):
    """Whoever has the slot keeps it."""
    return start("--workers", "1", "--slots", "1", "--parked-memory", "0", "--step-limit", "1000000", *flags)


def occupy(server):
    """A stream that holds the only slot until its connection is closed."""
    connection, response = server.open_stream({"grid": EXAMPLE, "options": ENDLESS})
    next(sse_events(response))
    return connection


def test_of_rollouts_the_most_confident_is_the_answer(shared_server):
    options = {"max_steps": 3, "no_halt": True, "noise": 0.5, "seed": 11}
    question = puzzles()[3][0]
    best = None
    for count in (1, 2, 3, 6):
        answer = shared_server.solve(question, rollouts=count, **options)
        if count == 1:
            assert "rollouts" not in answer
        else:
            assert answer["rollouts"]["count"] == count and answer["rollouts"]["steps"] == 3 * count
            assert answer["q_halt"][-1] >= best["q_halt"][-1]
            assert (answer["rollouts"]["best"] == 0) == (answer["q_halt"] == first["q_halt"])
        if count == 1:
            first = answer
        best = answer
    again = shared_server.solve(question, rollouts=6, **options)
    assert again["rollouts"] == best["rollouts"] and again["q_halt"] == best["q_halt"]


@trained
def test_a_verified_rollout_ends_the_others(start):
    """The others would take a million steps, and there is a slot for one at a time."""
    server = start("--workers", "1", "--slots", "2", "--step-limit", "1000000")
    for question, solution in puzzles()[:5]:
        answer = server.solve(question, rollouts=5, max_steps=1000000, noise=0.2)
        assert answer["halted_by"] == "verified" and flat(answer["answer"]) == solution
        assert answer["rollouts"]["steps"] < 1000
    grids = [question for question, _ in puzzles()[:20]]
    reply = server.post({"grids": grids, "options": {"rollouts": 5, "max_steps": 1000000, "noise": 0.2}})
    assert all(answer["halted_by"] == "verified" for answer in reply.json()["answers"])
    assert server.solve(EXAMPLE, max_steps=1)["steps"] == 1


def test_a_stream_of_rollouts_shows_the_leader_in_rising_steps(shared_server):
    connection, response = shared_server.open_stream({"grid": EXAMPLE, "options": {
        "rollouts": 4, "max_steps": 8, "no_halt": True, "noise": 0.5}})
    events = list(sse_events(response))
    connection.close()
    steps = [data for kind, data in events if kind == "step"]
    assert [step["step"] for step in steps] == sorted({step["step"] for step in steps}) and steps
    assert all(0 <= step["rollout"] < 4 for step in steps)
    kind, answer = events[-1]
    assert kind == "answer" and answer["rollouts"]["count"] == 4 and answer["rollouts"]["steps"] == 32


def test_a_stream_can_show_every_rollout(shared_server):
    connection, response = shared_server.open_stream({"grid": EXAMPLE, "options": {
        "rollouts": 3, "max_steps": 4, "no_halt": True, "noise": 0.5, "every_rollout": True}})
    *steps, (kind, answer) = list(sse_events(response))
    connection.close()
    lanes = [[data for _, data in steps if data["rollout"] == rollout] for rollout in range(3)]
    assert kind == "answer" and sum(map(len, lanes)) == len(steps)
    for lane in lanes:
        assert [data["step"] for data in lane] == [1, 2, 3, 4]
        assert 0 < lane[0]["ms"] < lane[1]["ms"] < lane[2]["ms"] < lane[3]["ms"]
        for before, after in zip(lane, lane[1:]):
            changed = [[r, c] for r in range(9) for c in range(9) if before["answer"][r][c] != after["answer"][r][c]]
            assert after["changed"] == changed
    best = lanes[answer["rollouts"]["best"]]
    assert best[-1]["answer"] == answer["answer"] and [data["q_halt"] for data in best] == answer["q_halt"]
    assert len({lane[-1]["q_halt"] for lane in lanes}) == 3


def test_a_deadline_ends_all_rollouts_with_the_best_so_far(start):
    server = start("--step-limit", "1000000", "--slots", "1")
    answer = server.solve(EXAMPLE, rollouts=8, noise=0.5, deadline_ms=300, **ENDLESS)
    assert answer["halted_by"] == "deadline" and answer["steps"] >= 1
    assert answer["rollouts"]["steps"] >= answer["steps"]
    assert server.solve(EXAMPLE, max_steps=1)["steps"] == 1


def test_more_rollouts_than_the_queue_holds_are_422(start):
    server = start("--max-queue", "10")
    reply = server.post({"grids": [EXAMPLE] * 3, "options": {"rollouts": 4}})
    assert reply.status == 422 and reply.json()["pointer"] == "/options/rollouts"
    assert server.post({"grids": [EXAMPLE] * 3, "options": {"rollouts": 3, "max_steps": 1}}).status == 200


def test_a_higher_priority_overtakes(start):
    """Five lowly puzzles wait for the only slot when an urgent one comes: it gets the slot before all of them."""
    server = one_slot(start)
    connection = occupy(server)
    options = {"max_steps": 20, "no_halt": True}
    streams = [server.open_stream({"grid": EXAMPLE, "options": {**options, "priority": priority}})
               for priority in (-1, -1, -1, -1, -1, 3)]
    connection.close()
    waited = [list(sse_events(response))[-1][1]["timing_ms"]["queue"] for _, response in streams]
    for stream, _ in streams:
        stream.close()
    assert waited[5] < min(waited[:5])


def test_under_load_first_rollouts_then_steps_are_taken(start):
    server = one_slot(start, "--max-queue", "16", "--adapt", "true")
    connection = occupy(server)
    asked = {"rollouts": 4, "max_steps": 40, "no_halt": True, "deadline_ms": 3000}
    streams = [server.open_stream({"grid": EXAMPLE, "options": asked}) for _ in range(8)]
    answers = [list(sse_events(response))[-1][1] for _, response in streams]
    for stream in (connection, *(one for one, _ in streams)):
        stream.close()
    given = [(answer.get("rollouts", {}).get("count", 1),
              answer.get("reduced", {}).get("max_steps", {}).get("given", 40)) for answer in answers]
    # 0, 4, 8, 9 ... wait: all rollouts up to a quarter, none but one from a half, then fewer steps.
    assert given[:3] == [(4, 40), (4, 40), (1, 40)]
    assert [rollouts for rollouts, _ in given[3:]] == [1] * 5
    steps = [steps for _, steps in given[2:]]
    assert steps == sorted(steps, reverse=True) and steps[-1] < 40
    assert answers[0].get("reduced") is None
    assert answers[2]["reduced"] == {"rollouts": {"asked": 4, "given": 1}}


def test_without_adapt_nothing_is_taken(start):
    server = one_slot(start, "--max-queue", "8")
    connection = occupy(server)
    with ThreadPoolExecutor(3) as pool:
        replies = list(pool.map(lambda _: server.post({"grid": EXAMPLE, "options": {
            "rollouts": 4, "deadline_ms": 1000}}), range(3)))
    connection.close()
    assert sorted(reply.status for reply in replies) == [200, 200, 429]
    assert not any("reduced" in reply.json() for reply in replies)
