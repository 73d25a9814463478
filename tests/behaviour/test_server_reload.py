"""Another checkpoint for a running server: who may ask for it, what puzzles see of it, what is refused."""

import json
import os
import shutil
import signal
import struct
import threading
from array import array
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import EXAMPLE, model_path, puzzles, sse_events
from test_server_life import wait_until

KEY = "a-key-of-the-admin"
HARD = "5......898.....7..7..39..5..3.9.........6.4.1.7.14..3..6.....7........9..8...42.."


def read_tensors(path):
    with open(path, "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:8 + size]), bytearray(data[8 + size:])


def write_tensors(path, header, data):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    replace(path, struct.pack("<Q", len(text)) + text + bytes(data))


def replace(path, content):
    """As it must be done to a file that is being served: a new file takes the name of the old one."""
    with open(f"{path}.new", "wb") as file:
        file.write(content)
    os.rename(f"{path}.new", path)


def write_other_weights(path):
    """The served checkpoint with half of every weight."""
    header, data = read_tensors(model_path())
    for name, tensor in header.items():
        if name != "__metadata__" and tensor["dtype"] == "F32":
            begin, end = tensor["data_offsets"]
            values = array("f", bytes(data[begin:end]))
            data[begin:end] = array("f", [value / 2 for value in values]).tobytes()
    write_tensors(path, header, data)


@pytest.fixture
def served(tmp_path):
    """A copy of the model, to be replaced."""
    path = str(tmp_path / "sudoku.safetensors")
    shutil.copy(model_path(), path)
    return path


def reload(server, key=KEY, model="sudoku"):
    return server.request("POST", f"/models/{model}/reload", headers={"Authorization": f"Bearer {key}"} if key else {})


def q_of(server):
    return server.solve(HARD, max_steps=3, no_halt=True)["q_halt"]


def test_without_an_admin_key_nobody_may(shared_server):
    reply = reload(shared_server)
    assert reply.status == 403 and reply.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("key", [None, "", "a-key-of-the-admiN", KEY + "x", KEY[:-1]])
def test_a_missing_or_wrong_key_is_401(start, key):
    server = start("--admin-key", KEY)
    reply = reload(server, key)
    assert reply.status == 401 and reply.headers["WWW-Authenticate"].startswith("Bearer")


def test_the_key_may_stand_in_a_file(start, served, tmp_path):
    (tmp_path / "key").write_text(KEY + "\n")
    server = start("--admin-key-file", str(tmp_path / "key"), model=served)
    assert reload(server).status == 200
    assert reload(server, "wrong").status == 401


def test_an_unknown_model_is_404(start):
    assert reload(start("--admin-key", KEY), model="nobody").status == 404


def test_puzzles_get_the_new_checkpoint(start, served):
    server = start("--admin-key", KEY, model=served)
    before = q_of(server)
    write_other_weights(served)
    assert q_of(server) == before
    reply = reload(server)
    assert reply.status == 200 and reply.json()["model"] == "sudoku"
    assert q_of(server) != before
    replace(served, open(model_path(), "rb").read())
    assert reload(server).status == 200
    assert q_of(server) == before


def test_sighup_reloads_every_model(start, served):
    server = start(model=served)
    before = q_of(server)
    write_other_weights(served)
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: q_of(server) != before)
    assert server.is_healthy()


def test_a_running_puzzle_finishes_on_the_old_one(start, served):
    server = start("--admin-key", KEY, "--workers", "1", "--step-limit", "1000000", model=served)
    connection, response = server.open_stream({"grid": HARD, "options": {"max_steps": 1000000, "no_halt": True}})
    events = sse_events(response)
    seen = {}

    def read_step():
        kind, data = next(events)
        assert kind == "step"
        seen[data["step"]] = data["q_halt"]

    read_step()
    write_other_weights(served)
    other = {}
    worker = threading.Thread(target=lambda: other.update(reply=reload(server), q=q_of(server)))
    worker.start()
    while worker.is_alive():
        read_step()
    for _ in range(20):
        read_step()
    connection.close()
    assert other["reply"].status == 200
    replace(served, open(model_path(), "rb").read())
    assert reload(server).status == 200
    expected = server.solve(HARD, max_steps=max(seen), no_halt=True)["q_halt"]
    assert other["q"] != expected[:3]
    assert [seen[step] for step in seen] == [expected[step - 1] for step in seen]


def other_shape(path):
    header, data = read_tensors(model_path())
    config = json.loads(header["__metadata__"]["config"])
    config["vocab_size"] += 1
    header["__metadata__"]["config"] = json.dumps(config)
    write_tensors(path, header, data)


@pytest.mark.parametrize("spoil", [lambda path: replace(path, b""),
                                   lambda path: replace(path, b"no checkpoint" * 1000),
                                   lambda path: replace(path, open(model_path(), "rb").read()[:100000]),
                                   other_shape, os.unlink])
def test_a_broken_file_is_refused_and_the_old_one_goes_on(start, served, spoil):
    server = start("--admin-key", KEY, model=served)
    before = q_of(server)
    spoil(served)
    reply = reload(server)
    assert reply.status == 422 and reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json()["type"] == "urn:trm-server:bad-checkpoint" and reply.json()["detail"]
    assert q_of(server) == before
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: sum("reload refused" in line for line in server.log) == 2)
    assert q_of(server) == before and server.stop() == 0


def test_nothing_is_lost_while_models_are_reloaded(start, served):
    server = start("--admin-key", KEY, model=served)
    questions = [question for question, _ in puzzles()[:120]]
    content = open(model_path(), "rb").read()
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(server.post, {"grid": question, "options": {"max_steps": 4}}) for question in questions]
        for good in [True, False] * 4:
            replace(served, content if good else content[:5000])
            assert reload(server).status == (200 if good else 422)
        assert [answer.result().status for answer in answers] == [200] * len(questions)
    assert server.is_healthy()


def test_a_model_is_reloaded_once_at_a_time(start, served):
    server = start("--admin-key", KEY, model=served)
    with ThreadPoolExecutor(16) as pool:
        statuses = [reply.status for reply in pool.map(lambda _: reload(server), range(64))]
    assert set(statuses) <= {200, 409} and 200 in statuses
    metrics = server.get("/metrics").body.decode()
    assert f'trm_reloads_total{{model="sudoku",result="ok"}} {statuses.count(200)}\n' in metrics


def test_a_client_that_leaves_does_not_stop_a_reload(start, served):
    server = start("--admin-key", KEY, model=served)
    before = q_of(server)
    write_other_weights(served)
    with server.raw() as raw:
        raw.sendall(b"POST /models/sudoku/reload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + KEY.encode() +
                    b"\r\nContent-Length: 0\r\n\r\n")
    wait_until(lambda: q_of(server) != before)
    assert server.stop() == 0
