"""Long puzzles give their slots to others that wait, after a share of steps, and come to the same answers."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

from conftest import EXAMPLE, flat, puzzles, sse_events, wait_until
from test_server_hangup import metrics
from test_server_reload import HARD, KEY, q_of, reload, served, write_other_weights  # noqa: F401: a fixture

ENDLESS = {"max_steps": 1000000, "no_halt": True}


def one_slot(start, *flags, **options):
    return start("--workers", "1", "--slots", "1", "--step-limit", "1000000", *flags, **options)


def occupy(server):
    connection, response = server.open_stream({"grid": EXAMPLE, "options": ENDLESS})
    events = sse_events(response)
    next(events)
    return connection, events


def test_one_puzzle_does_not_wait_for_the_end_of_another(start):
    server = one_slot(start)
    connection, events = occupy(server)
    for _ in range(3):
        assert server.solve(HARD, max_steps=5, no_halt=True)["steps"] == 5
    _, before = next(events)
    while next(events)[1]["step"] <= before["step"] + 100:  # the first goes on meanwhile
        pass
    connection.close()
    wait_until(lambda: metrics(server)["trm_slots_busy"] == 0)
    assert metrics(server)["trm_yields_total"] >= 3


def test_a_puzzle_of_the_default_length_never_gives_way(start):
    server = one_slot(start)
    answers = []
    clients = [threading.Thread(target=lambda: answers.append(server.solve(HARD, no_halt=True))) for _ in range(6)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert [answer["steps"] for answer in answers] == [16] * 6
    assert metrics(server)["trm_yields_total"] == 0


def test_without_memory_for_them_nobody_gives_way(start):
    server = one_slot(start, "--parked-memory", "0")
    connection, _ = occupy(server)
    assert server.solve(EXAMPLE, deadline_ms=500)["steps"] == 0
    connection.close()
    assert metrics(server)["trm_yields_total"] == 0


def test_breaks_do_not_change_a_single_bit(start):
    """Every second one is a stream, and all of them share two slots of two workers."""
    questions = [question for question, _ in puzzles()[:4]]
    options = {"max_steps": 40, "no_halt": True, "seed": 5, "noise": 0.1, "rollouts": 2}
    server = start("--workers", "2", "--slots", "1")
    alone = [server.solve(question, **options) for question in questions]
    before = metrics(server)["trm_yields_total"]

    def ask(index):
        body = {"grid": questions[index], "options": options}
        if index % 2:
            return server.post(body).json()
        connection, response = server.open_stream(body)
        *_, (kind, answer) = sse_events(response)
        connection.close()
        assert kind == "answer"
        return answer

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(ask, range(4)))
    for one, other in zip(alone, together):
        assert one["q_halt"] == other["q_halt"] and one["answer"] == other["answer"]
        assert one["rollouts"] == other["rollouts"]
    after = metrics(server)
    assert after["trm_yields_total"] >= before + 4 and after["trm_parked"] == 0


def test_time_without_a_slot_is_no_computing(start):
    server = one_slot(start)
    connection, _ = occupy(server)
    timing = server.solve(HARD, max_steps=160, no_halt=True)["timing_ms"]
    connection.close()
    # By turns with the other one, of sixteen steps each.
    assert timing["queue"] > timing["compute"] / 4
    assert timing["queue"] + timing["compute"] <= timing["total"]


def test_what_a_parked_puzzle_has_come_to_is_its_answer_at_the_deadline(start):
    server = one_slot(start)
    connection, _ = occupy(server)
    for deadline_ms in (1000, 4000, 16000):  # the more, the slower this machine
        with ThreadPoolExecutor(2) as pool:
            ask = lambda _: server.solve(HARD, **ENDLESS, deadline_ms=deadline_ms)  # noqa: E731, B023
            answers = list(pool.map(ask, range(2)))
        assert all(answer["halted_by"] == "deadline" for answer in answers)
        assert all(len(answer["q_halt"]) == answer["steps"] for answer in answers)
        if all(answer["steps"] > 16 for answer in answers):
            break
    else:
        assert False, answers
    connection.close()
    wait_until(lambda: metrics(server)["trm_slots_busy"] == metrics(server)["trm_parked"] == 0)


def test_clients_that_leave_take_their_parked_puzzles_along(start):
    server = one_slot(start)
    connections = [occupy(server)[0] for _ in range(10)]
    wait_until(lambda: metrics(server)["trm_parked"] == 9)
    for connection in connections:
        connection.close()
    wait_until(lambda: metrics(server)["trm_parked"] == metrics(server)["trm_slots_busy"] == 0)
    assert metrics(server)["trm_queue_length"] == 0
    assert server.solve(EXAMPLE, max_steps=1)["steps"] == 1


def test_a_parked_puzzle_finishes_on_the_checkpoint_it_began_with(start, served):  # noqa: F811
    server = one_slot(start, "--admin-key", KEY, model=served)
    options = {"max_steps": 400, "no_halt": True}
    alone, old = server.solve(HARD, **options), q_of(server)
    streams = [server.open_stream({"grid": HARD, "options": options}) for _ in range(4)]
    events = [sse_events(response) for _, response in streams]
    for one in events:
        next(one)  # each has had a slot
    write_other_weights(served)
    assert reload(server).status == 200
    assert q_of(server) != old
    for (connection, _), one in zip(streams, events):
        *_, (kind, answer) = one
        connection.close()
        assert kind == "answer" and answer["q_halt"] == alone["q_halt"]
    assert metrics(server)["trm_parked"] == 0


def test_a_request_of_many_long_puzzles_gives_way_to_a_single_one(start):
    server = one_slot(start)
    grids = [question for question, _ in puzzles()[:20]]
    reply = []
    body = {"grids": grids, "options": {"max_steps": 50, "no_halt": True}}
    many = threading.Thread(target=lambda: reply.append(server.post(body)))
    many.start()
    wait_until(lambda: metrics(server)["trm_steps_total"] > 16)
    single = server.solve(grids[0], max_steps=16)
    assert many.is_alive()
    many.join()
    answers = reply[0].json()["answers"]
    assert [answer["steps"] for answer in answers] == [50] * 20
    assert flat(single["answer"]) == puzzles()[0][1] or single["steps"] == 16


def test_sigterm_lets_parked_puzzles_finish(start):
    server = one_slot(start, "--drain-timeout", "3600")
    bodies = [{"grid": question, "options": {"max_steps": 100, "no_halt": True}} for question, _ in puzzles()[:6]]
    with ThreadPoolExecutor(6) as pool:
        replies = [pool.submit(server.post, body) for body in bodies]
        wait_until(lambda: metrics(server)["trm_parked"] > 0)
        assert server.stop() == 0
        for reply in replies:
            assert reply.result().status == 200 and json.loads(reply.result().body)["steps"] == 100
