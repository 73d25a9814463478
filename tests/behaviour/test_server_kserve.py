"""KServe's Open Inference Protocol v2: the same answers as /solve, in tensors; errors in its own form."""

import json

import pytest

from conftest import EXAMPLE, flat, model_path, puzzles

CELLS = [0 if c == "." else int(c) for c in EXAMPLE]


@pytest.fixture(scope="module")
def name(shared_server):
    return shared_server.get("/models").json()["models"][0]["name"]


def request_of(cells, shape=None, **members):
    return {"inputs": [{"name": "grid", "shape": shape or [1, 81], "datatype": "INT32", "data": cells}], **members}


def infer(server, name, body, path="/v2/models/%s/infer", headers=None):
    return server.request("POST", path % name, body if isinstance(body, bytes) else json.dumps(body), headers or {})


def tensors(reply):
    assert reply.status == 200, reply.body
    return {output["name"]: output for output in reply.json()["outputs"]}


def check_error(reply, status, words):
    assert reply.status == status, reply.body
    assert reply.headers["Content-Type"] == "application/json"
    assert set(reply.json()) == {"error"}
    assert words in reply.json()["error"]


def test_the_server_and_its_models_introduce_themselves(shared_server, name):
    server = shared_server.get("/v2").json()
    assert server["name"] == "trm-server" and server["version"] and server["extensions"] == []
    for path in ("/v2/models/" + name, "/v2/models/" + name + "/versions/1"):
        model = shared_server.get(path).json()
        assert model["name"] == name and model["versions"] == ["1"] and model["platform"]
        assert model["inputs"] == [{"name": "grid", "datatype": "INT32", "shape": [-1, 81]}]
        assert [output["name"] for output in model["outputs"]] == ["answer", "valid", "steps", "q_halt", "confidence",
                                                                   "halted_by"]


def test_health_is_told(shared_server, name):
    assert shared_server.get("/v2/health/live").json() == {"live": True}
    assert shared_server.get("/v2/health/ready").json() == {"ready": True}
    for path in ("/v2/models/%s/ready", "/v2/models/%s/versions/1/ready"):
        assert shared_server.get(path % name).json() == {"name": name, "ready": True}


def test_a_tensor_gets_the_answer_of_a_grid(shared_server, name):
    options = {"max_steps": 3, "no_halt": True}
    answer = shared_server.solve(EXAMPLE, **options)
    rows = [CELLS[i:i + 9] for i in range(0, 81, 9)]
    for cells, shape in ((CELLS, [1, 81]), ([CELLS], [1, 81]), (CELLS, [1, 9, 9]), ([rows], [1, 9, 9])):
        reply = infer(shared_server, name, request_of(cells, shape, parameters=options, id="my-id"))
        outputs = tensors(reply)
        assert reply.json()["model_name"] == name and reply.json()["id"] == "my-id"
        assert outputs["answer"]["shape"] == [1, 81] and outputs["answer"]["datatype"] == "INT32"
        assert outputs["answer"]["data"] == [int(c) for c in flat(answer["answer"])]
        assert outputs["valid"]["data"] == [answer["valid"]]
        assert outputs["steps"]["data"] == [3]
        assert outputs["q_halt"]["data"] == [answer["q_halt"][-1]]
        assert outputs["confidence"]["data"] == [answer["confidence"]]
        assert outputs["halted_by"]["data"] == ["max_steps"]


def test_many_puzzles_are_one_tensor(shared_server, name):
    questions = [question for question, _ in puzzles()[:20]]
    cells = [0 if c == "." else int(c) for question in questions for c in question]
    reply = infer(shared_server, name, request_of(cells, [20, 81], parameters={"max_steps": 2}),
                  "/v2/models/%s/versions/1/infer")
    outputs = tensors(reply)
    assert outputs["answer"]["shape"] == [20, 81] and outputs["steps"]["shape"] == [20]
    together = shared_server.post({"grids": questions, "options": {"max_steps": 2}}).json()["answers"]
    expected = [int(c) for answer in together for c in flat(answer["answer"])]
    assert outputs["answer"]["data"] == expected
    assert outputs["q_halt"]["data"] == [answer["q_halt"][-1] for answer in together]


def test_only_the_outputs_that_are_wished_for_come(shared_server, name):
    body = request_of(CELLS, outputs=[{"name": "steps"}, {"name": "valid", "parameters": {"binary_data": False}}],
                      parameters={"max_steps": 1})
    assert set(tensors(infer(shared_server, name, body))) == {"steps", "valid"}


BAD = {
    "no JSON": (b"{", 400, "line 1"),
    "no inputs": ({}, 422, "/inputs"),
    "a cell of 10": (request_of([10] + CELLS[1:]), 422, "row 1, column 1 (counted from 1) is 10"),
    "two fives": (request_of(CELLS[:8] + [5] + CELLS[9:]), 422, "are both 5"),
    "a puzzle of another size": (request_of([0] * 16, [1, 16]), 422, "/inputs/0/shape"),
    "fewer cells than the shape": (request_of(CELLS, [2, 81]), 422, "/inputs/0/data"),
    "floats": (request_of([float(c) for c in CELLS]), 422, "/inputs/0/data"),
    "an unknown option": (request_of(CELLS, parameters={"steps": 3}), 422, "/parameters/steps"),
    "binary data": ({"inputs": [{"name": "grid", "shape": [1, 81], "datatype": "INT32",
                                 "parameters": {"binary_data_size": 324}}]}, 415, "binary tensor extension"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_request_is_told_in_one_sentence(shared_server, name, kind):
    body, status, words = BAD[kind]
    check_error(infer(shared_server, name, body), status, words)


def test_every_error_under_v2_has_its_form(shared_server, name):
    check_error(infer(shared_server, "nobody", request_of(CELLS)), 404, "nobody")
    check_error(shared_server.get("/v2/models/nobody"), 404, "nobody")
    check_error(shared_server.get("/v2/models/%s/versions/2" % name), 404, "not a path")
    check_error(shared_server.get("/v2/nothing"), 404, "/v2/nothing")
    check_error(shared_server.request("PUT", "/v2", "{}"), 405, "GET")
    check_error(infer(shared_server, name, request_of(CELLS), headers={"Content-Type": "image/png"}), 415, "image/png")
    check_error(infer(shared_server, name, request_of(CELLS), headers={"Inference-Header-Content-Length": "10"}), 415,
                "binary tensor extension")
    check_error(infer(shared_server, name, b" " * (2 << 20)), 413, "bytes")
    assert shared_server.get("/v2x").headers["Content-Type"] == "application/problem+json"


def test_models_of_any_name_can_be_reached(start):
    server = start(model="größe 9=" + model_path())
    reply = server.get("/v2/models/gr%C3%B6%C3%9Fe%209")
    assert reply.status == 200 and reply.json()["name"] == "größe 9"
