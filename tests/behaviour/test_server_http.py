"""What HTTP asks of the server, whatever is asked of the model: bad requests, keep-alive, limits."""

import http.client
import json
import random
import socket

import pytest

from conftest import EXAMPLE

GRID = [[0 if c == "." else int(c) for c in EXAMPLE[i:i + 9]] for i in range(0, 81, 9)]


def with_cell(row, column, value):
    return [[value if (r, c) == (row, column) else cell for c, cell in enumerate(line)] for r, line in enumerate(GRID)]


def check_problem(reply, status, pointer=None):
    assert reply.status == status, reply.body
    assert reply.headers["Content-Type"] == "application/problem+json"
    problem = reply.json()
    assert problem["status"] == status
    assert problem["type"] and problem["title"] and problem["detail"]
    assert problem.get("pointer") == pointer
    return problem


BAD = {
    "no body": (b"", 400, None),
    "cut short": (b'{"grid": [[1,2', 400, None),
    "no JSON": (b"grid=53..7", 400, None),
    "not UTF-8": (b'{"grid": "\xff\xfe"}', 400, None),
    "a zero byte": (b'{"grid": "\x00"}', 400, None),
    "a huge number": (b'{"grid": [[1e999]]}', 400, None),
    "very deep": (b"[" * 100000, 400, None),
    "a member twice": (b'{"grid": "", "grid": ""}', 400, None),
    "an array": ([], 422, None),
    "null": (b"null", 400, None),
    "no grid": ({}, 422, "/grid"),
    "grid and grids": ({"grid": GRID, "grids": [GRID]}, 422, "/grids"),
    "a grid that is a number": ({"grid": 5}, 422, "/grid"),
    "8 rows": ({"grid": GRID[:8]}, 422, "/grid"),
    "10 rows": ({"grid": GRID + [GRID[0]]}, 422, "/grid"),
    "a row of 8": ({"grid": GRID[:7] + [GRID[7][:8]] + GRID[8:]}, 422, "/grid/7"),
    "columns of 8": ({"grid": [row[:8] for row in GRID]}, 422, "/grid/0"),
    "a row that is null": ({"grid": GRID[:3] + [None] + GRID[4:]}, 422, "/grid/3"),
    "symbol x in a cell": ({"grid": with_cell(4, 2, "x")}, 422, "/grid/4/2"),
    "a cell of 10": ({"grid": with_cell(4, 2, 10)}, 422, "/grid/4/2"),
    "a cell of -1": ({"grid": with_cell(0, 0, -1)}, 422, "/grid/0/0"),
    "a cell of 2^62": ({"grid": with_cell(0, 0, 2**62)}, 422, "/grid/0/0"),
    "a cell of 1.5": ({"grid": with_cell(8, 8, 1.5)}, 422, "/grid/8/8"),
    "symbol x in a string": ({"grid": "x" + EXAMPLE[1:]}, 422, "/grid"),
    "symbol x in a row": ({"grid": GRID[:2] + ["........x"] + GRID[3:]}, 422, "/grid/2"),
    "80 characters": ({"grid": EXAMPLE[:80]}, 422, "/grid"),
    "two fives in a row": ({"grid": with_cell(0, 8, 5)}, 422, "/grid/0/8"),
    "two fives in a column": ({"grid": with_cell(8, 0, 5)}, 422, "/grid/8/0"),
    "two fives in a box": ({"grid": with_cell(2, 0, 5)}, 422, "/grid/2/0"),
    "two fives in a string": ({"grid": "5......5" + "." * 73}, 422, "/grid"),
    "the second of grids": ({"grids": [GRID, with_cell(1, 1, 77)]}, 422, "/grids/1/1/1"),
    "no grids": ({"grids": []}, 422, "/grids"),
    "too many grids": ({"grids": [EXAMPLE] * 1025}, 422, "/grids"),
    "grids that are no array": ({"grids": "x"}, 422, "/grids"),
    "an unknown model": ({"grid": GRID, "model": "gpt"}, 404, "/model"),
    "a model that is a number": ({"grid": GRID, "model": 5}, 422, "/model"),
    "an unknown member": ({"grid": GRID, "gird": 1}, 422, "/gird"),
    "a name to escape": ({"grid": GRID, "a/b~c": 1}, 422, "/a~1b~0c"),
    "options that are an array": ({"grid": GRID, "options": []}, 422, "/options"),
    "an unknown option": ({"grid": GRID, "options": {"max_step": 3}}, 422, "/options/max_step"),
    "no steps": ({"grid": GRID, "options": {"max_steps": 0}}, 422, "/options/max_steps"),
    "too many steps": ({"grid": GRID, "options": {"max_steps": 100000}}, 422, "/options/max_steps"),
    "half a step": ({"grid": GRID, "options": {"max_steps": 1.5}}, 422, "/options/max_steps"),
    "more at least than at most": ({"grid": GRID, "options": {"max_steps": 2, "min_steps": 3}}, 422,
                                   "/options/min_steps"),
    "a deadline in the past": ({"grid": GRID, "options": {"deadline_ms": -1}}, 422, "/options/deadline_ms"),
    "verify as a word": ({"grid": GRID, "options": {"verify": "yes"}}, 422, "/options/verify"),
    "a threshold as a word": ({"grid": GRID, "options": {"halt_threshold": "0"}}, 422, "/options/halt_threshold"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_request_is_told_what_is_wrong(shared_server, name):
    body, status, pointer = BAD[name]
    check_problem(shared_server.post(body), status, pointer)
    assert shared_server.is_healthy()


def test_malformed_json_is_told_where(shared_server):
    problem = check_problem(shared_server.post(b'{"grid":\n  oops}'), 400)
    assert "line 2" in problem["detail"] and "column" in problem["detail"]


def test_equal_clues_are_both_named(shared_server):
    problem = check_problem(shared_server.post({"grid": with_cell(0, 8, 5)}), 422, "/grid/0/8")
    assert "row 1, column 1 and row 1, column 9" in problem["detail"] and "both 5" in problem["detail"]


def test_a_bad_request_for_a_stream_is_a_problem_too(shared_server):
    check_problem(shared_server.post({"grid": "x"}, {"Accept": "text/event-stream"}), 422, "/grid")


def test_garbage_never_ends_the_server(shared_server):
    rng = random.Random(5)
    valid = json.dumps({"grid": GRID, "options": {"max_steps": 1}}).encode()
    for _ in range(200):
        body = bytearray(valid if rng.random() < 0.7 else rng.randbytes(rng.randrange(400)))
        for _ in range(rng.randrange(1, 6)):
            if body:
                body[rng.randrange(len(body))] = rng.randrange(256)
        status = shared_server.post(bytes(body)).status
        assert status == 200 or 400 <= status < 500
    assert shared_server.is_healthy()


def test_garbage_instead_of_http_never_ends_the_server(shared_server):
    rng = random.Random(6)
    for _ in range(50):
        with shared_server.raw() as raw:
            raw.sendall(rng.randbytes(rng.randrange(1, 300)) + b"\r\n\r\n")
    assert shared_server.is_healthy()


HEADS = {
    "a header without a name": b"GET /models HTTP/1.1\r\nHost x\r\n\r\n",
    "a length that is no number": b"POST /solve HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    "a huge length": b"POST /solve HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "a long header": b"GET /models HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 40000 + b"\r\n\r\n",
    "a long path": b"GET /" + b"x" * 40000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a chunk without a size": b"POST /solve HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
}


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_that_libmicrohttpd_refuses_is_told_so_and_costs_its_connection(shared_server, kind):
    with shared_server.raw() as raw:
        raw.sendall(HEADS[kind])
        received = b""
        try:
            while data := raw.recv(65536):
                received += data
        except ConnectionResetError:  # the rest of what was sent was not read
            pass
    assert received.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")) or (received == b"" and len(HEADS[kind]) > 32768)
    assert shared_server.is_healthy()


def test_an_unknown_path_is_404(shared_server):
    check_problem(shared_server.get("/nothing/here"), 404)
    check_problem(shared_server.request("POST", "/solves", "{}"), 404)


@pytest.mark.parametrize("method, path, allow", [("GET", "/solve", "POST"), ("PUT", "/solve", "POST"),
                                                 ("DELETE", "/models", "GET, HEAD"), ("POST", "/", "GET, HEAD"),
                                                 ("ET", "/models", "GET, HEAD")])
def test_a_wrong_method_is_405_and_told_the_right_one(shared_server, method, path, allow):
    reply = shared_server.request(method, path, "{}")
    check_problem(reply, 405)
    assert reply.headers["Allow"] == allow


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "text/xml", "image/png"])
def test_another_type_of_body_is_415(shared_server, content_type):
    check_problem(shared_server.post({"grid": GRID}, {"Content-Type": content_type}), 415)


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON",
                                          "application/vnd.trm+json", "application/x-www-form-urlencoded"])
def test_types_of_json_are_accepted(shared_server, content_type):
    reply = shared_server.post({"grid": GRID, "options": {"max_steps": 1}}, {"Content-Type": content_type})
    assert reply.status == 200


@pytest.mark.parametrize("path", ["/", "/models", "/health/live", "/health/ready"])
def test_get_and_head_agree(shared_server, path):
    get, head = shared_server.get(path), shared_server.request("HEAD", path)
    assert get.status == head.status == 200
    assert get.json() and head.body == b""
    assert head.headers["Content-Length"] == str(len(get.body))


def test_models_say_what_they_are(shared_server):
    model = shared_server.get("/models").json()["models"][0]
    assert model["puzzle"] == "sudoku" and model["rows"] == model["columns"] == 9
    assert model["parameters"] > 0 and model["config"]["seq_len"] == 81


def test_one_connection_serves_many_requests(shared_server):
    connection = shared_server.connect()
    connection.connect()
    socket_used = connection.sock
    bodies = [json.dumps({"grid": GRID, "options": {"max_steps": 1}}), "{", json.dumps({"grid": GRID, "x": 1})]
    for i in range(30):
        connection.request("POST", ["/solve", "/solve", "/nowhere"][i % 3], bodies[i % 3])
        response = connection.getresponse()
        response.read()
        assert response.status == [200, 400, 404][i % 3]
    assert connection.sock is socket_used
    connection.close()


def test_pipelined_requests_are_answered_in_order(shared_server):
    def post(steps):
        body = json.dumps({"grid": GRID, "options": {"max_steps": steps, "no_halt": True}})
        return f"POST /solve HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}"

    with shared_server.raw() as raw:
        raw.sendall((post(3) + "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n" + post(1)).encode())
        file = raw.makefile("rb")
        replies = []
        for _ in range(3):
            assert file.readline().startswith(b"HTTP/1.1 200")
            length = 0
            while (line := file.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            replies.append(json.loads(file.read(length)))
    assert replies[0]["steps"] == 3 and replies[1] == {"status": "live"} and replies[2]["steps"] == 1


def test_a_body_of_10_mb_is_413(shared_server):
    reply = shared_server.post(b" " * (10 << 20))
    check_problem(reply, 413)
    assert reply.headers["Connection"] == "close"
    assert shared_server.is_healthy()


def test_a_chunked_body_without_end_is_413_as_soon_as_it_is_too_large(shared_server):
    with shared_server.raw() as raw:
        raw.sendall(b"POST /solve HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
        for _ in range(17):
            raw.sendall(piece)
        response = http.client.HTTPResponse(raw)
        response.begin()
        assert response.status == 413
        assert json.loads(response.read())["status"] == 413
    assert shared_server.is_healthy()


def test_a_chunked_body_is_read(shared_server):
    body = json.dumps({"grid": GRID, "options": {"max_steps": 1}}).encode()
    pieces = (body[i:i + 7] for i in range(0, len(body), 7))
    connection = shared_server.connect()
    connection.request("POST", "/solve", pieces, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()


def test_a_path_of_any_bytes_gets_a_problem_that_is_json(shared_server):
    check_problem(shared_server.get("/%ff%22%5c%0a%c3%a9"), 404)
    check_problem(shared_server.get("/" + "x" * 3000), 404)


def test_a_body_at_the_limit_is_read(start):
    server = start("--max-body", "2048")
    body = json.dumps({"grid": EXAMPLE, "options": {"max_steps": 1}})
    assert server.post(body.ljust(2048)).status == 200
    check_problem(server.post(body.ljust(2049)), 413)


def test_a_body_that_never_ends_is_408(start):
    server = start("--body-timeout", "1")
    with server.raw() as raw:
        raw.sendall(b"POST /solve HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        response = http.client.HTTPResponse(raw)
        response.begin()
        assert response.status == 408
        assert json.loads(response.read())["status"] == 408
    assert server.is_healthy()


def test_an_idle_connection_is_closed(start):
    server = start("--idle-timeout", "1")
    with server.raw() as raw:
        assert raw.recv(1) == b""
    assert server.is_healthy()


def test_more_connections_than_allowed_wait_for_their_turn(start):
    server = start("--max-connections", "4")
    idle = [server.raw() for _ in range(4)]
    fifth = server.raw()
    fifth.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    for raw in idle:
        raw.close()
    assert fifth.recv(100).startswith(b"HTTP/1.1 200")
    fifth.close()


def test_expect_100_continue_is_answered(shared_server):
    body = json.dumps({"grid": GRID, "options": {"max_steps": 1}}).encode()
    with shared_server.raw() as raw:
        raw.sendall(b"POST /solve HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert raw.recv(100).startswith(b"HTTP/1.1 100")
        raw.sendall(body)
        assert raw.recv(100).startswith(b"HTTP/1.1 200")


def test_http_1_0_gets_a_stream_that_ends_with_the_connection(shared_server):
    body = json.dumps({"grid": GRID, "options": {"max_steps": 2, "no_halt": True}}).encode()
    with shared_server.raw() as raw:
        raw.sendall(b"POST /solve HTTP/1.0\r\nAccept: application/x-ndjson\r\nContent-Length: %d\r\n\r\n" % len(body)
                    + body)
        text = b""
        while data := raw.recv(65536):
            text += data
    lines = text.split(b"\r\n\r\n", 1)[1].splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["step", "step", "answer"]
