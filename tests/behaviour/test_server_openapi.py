"""/openapi.json against the real server: every path and method of it and no other, every documented status
provoked, every answer valid by its schema. A new path, status or member must be documented to pass."""

import http.client
import itertools
import json
import os
import re
import shutil
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import pytest

from test_adapt import CONFIG, OTHER, TASK, write_model
from conftest import EXAMPLE, PATIENCE_S, ROOT, Reply, Server, model_path
from test_server_life import occupy, wait_until

yaml = pytest.importorskip("yaml")

KEY = "a-key-of-the-admin"
VERBS = ("get", "post", "put", "delete", "patch")
INPUT = {"name": "grid", "shape": [1, 81], "datatype": "INT32",
         "data": [0 if c == "." else int(c) for c in EXAMPLE]}
ONE_STEP = {"max_steps": 1}
BODIES = {"/solve": {"grid": EXAMPLE, "options": ONE_STEP},
          "/v2/models/{model}/infer": {"inputs": [INPUT], "parameters": ONE_STEP}}
BODIES["/tasks"] = {"task": TASK, "options": {"seconds": 1}}
BODIES["/v2/models/{model}/versions/1/infer"] = BODIES["/v2/models/{model}/infer"]


def source():
    with open(os.path.join(ROOT, "proto", "openapi.yaml")) as file:
        return yaml.safe_load(file)


DOCUMENT = source()


def operations():
    """(path, verb, operation) of the whole document."""
    for path, item in DOCUMENT["paths"].items():
        for verb in VERBS:
            if verb in item:
                yield path, verb, item[verb]


def resolve(node):
    while "$ref" in node:
        found = DOCUMENT
        for part in node["$ref"][2:].split("/"):
            found = found[part]
        node = found
    return node


def check(value, schema):
    """`value` is valid by a schema of the document."""
    jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


def is_valid(value, schema):
    return jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).is_valid(value)


class Stage:
    """Servers in the states that provoke what is documented, each started when it is needed first."""

    def __init__(self, plain):
        self.servers = {"plain": plain}
        self.held = []
        self.folder = tempfile.TemporaryDirectory()
        self.model = plain.get("/models").json()["models"][0]["name"]

    def at(self, name):
        if name not in self.servers:
            self.servers[name] = getattr(self, "start_" + name)()
        return self.servers[name]

    def start_admin(self):
        return Server("--admin-key", KEY)

    def start_keyed(self):
        return Server("--api-keys", KEY)

    def start_impatient(self):
        return Server("--body-timeout", "1")

    def start_full(self):
        """The only slot is taken and the only place to wait is too."""
        server = Server("--workers", "1", "--slots", "1", "--parked-memory", "0", "--max-queue", "1", "--step-limit",
                        "1000000")
        self.held.append(occupy(server))
        waiting = server.raw()
        body = json.dumps({"grid": EXAMPLE})
        waiting.sendall(f"POST /solve HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        self.held.append(waiting)
        refused = {"grid": EXAMPLE, "options": {"deadline_ms": 1}}
        wait_until(lambda: server.post(refused).status != 200)
        return server

    def adapting(self, name, *flags):
        """A server that adapts a tiny ARC model to tasks, beside one for Sudoku that can be kept busy."""
        model = write_model(os.path.join(self.folder.name, name + ".safetensors"), CONFIG)
        return Server("--model", "arc=" + model, "--tasks-dir", os.path.join(self.folder.name, name), *flags)

    def start_tasks(self):
        return self.adapting("tasks")

    def start_tasks_full(self):
        """One adaptation runs, and the only other one that may waits."""
        server = self.adapting("full", "--tasks-queue", "1")
        for colour in range(1, 3):
            task = {"train": [{"input": [[colour]], "output": [[9]]}], "test": [{"input": [[colour]]}]}
            body = json.dumps({"task": task, "options": {"seconds": 300}})
            place = server.request("POST", "/tasks", body).headers["Location"]
            if colour == 1:
                wait_until(lambda: server.get(place).json()["state"] == "running")
        return server

    def start_tasks_impatient(self):
        return self.adapting("impatient", "--body-timeout", "1")

    def start_tasks_draining(self):
        server = self.adapting("draining", "--drain-timeout", "3600", "--step-limit", "1000000")
        self.held.append(occupy(server))
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.get("/health/ready").status == 503)
        return server

    def start_draining(self):
        server = Server("--drain-timeout", "3600", "--step-limit", "1000000", "--admin-key", KEY)
        self.held.append(occupy(server))
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.get("/health/ready").status == 503)
        return server

    def close(self):
        for name, server in self.servers.items():
            if name != "plain":
                server.process.kill()
                server.process.wait(PATIENCE_S)
        self.folder.cleanup()


@pytest.fixture(scope="module")
def stage(shared_server):
    built = Stage(shared_server)
    yield built
    built.close()


def send(stage, path, verb, at="plain", model=None, file="app.js", body=None, headers=None, task=None):
    body = (BODIES.get(path) if verb == "post" else None) if body is None else body
    path = path.replace("{model}", model or stage.model).replace("{file}", file).replace("{id}", task or "0")
    data = body if isinstance(body, bytes) or body is None else json.dumps(body)
    return stage.at(at).request(verb.upper(), path, data, headers or {})


def never_ending(stage, path, verb, at="impatient"):
    with stage.at(at).raw() as raw:
        path = path.replace("{model}", stage.model)
        raw.sendall(f"{verb.upper()} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode())
        response = http.client.HTTPResponse(raw)
        response.begin()
        return Reply(response.status, response.headers, response.read())


def until_409(stage, path, verb):
    """Reloads, several at once, until two of them meet."""
    bearer = {"Authorization": "Bearer " + KEY}
    found = []

    def met():
        with ThreadPoolExecutor(4) as pool:
            replies = list(pool.map(lambda _: send(stage, path, verb, "admin", headers=bearer), range(4)))
        found.extend(reply for reply in replies if reply.status == 409)
        return found

    wait_until(met)
    return found[0]


def reload_of_a_broken_file():
    """The server's file is no checkpoint any more. A new one takes its name: the old is mapped."""
    with tempfile.TemporaryDirectory() as directory:
        file = os.path.join(directory, "sudoku.safetensors")
        shutil.copy(model_path(), file)
        server = Server("--admin-key", KEY, model=file)
        os.remove(file)
        with open(file, "wb") as broken:
            broken.write(b"no checkpoint")
        reply = server.request("POST", "/models/sudoku/reload", headers={"Authorization": "Bearer " + KEY})
        assert server.is_healthy() and server.stop() == 0
    return reply


def known_task(stage):
    """The id of a task that the server adapts to, or has adapted to."""
    return stage.at("tasks").request("POST", "/tasks", json.dumps(BODIES["/tasks"])).json()["id"]


def of_tasks(path, verb, status):
    """The same as provocation() for /tasks, of which most servers have none; None: no other way."""
    def adapted(stage):
        known_task(stage)
        wait_until(lambda: send(stage, path, verb, "tasks").status == 200)
        return send(stage, path, verb, "tasks")

    def trained(stage):
        """A checkpoint that an adaptation left says which task it was trained on."""
        folder, task = os.path.join(stage.folder.name, "tasks"), known_task(stage)
        wait_until(lambda: stage.at("tasks").get("/tasks/" + task).json()["state"] == "done")
        if "trained" not in stage.servers:
            stage.servers["trained"] = Server("--tasks-dir", os.path.join(stage.folder.name, "trained"),
                                              model=os.path.join(folder, task + ".safetensors"))
        return send(stage, path, verb, "trained")

    if path == "/tasks/{id}":
        fresh = {"200": {}, "204": {}, "406": {"headers": {"Accept": "image/png"}}}
        if status in fresh:
            return lambda stage: send(stage, path, verb, "tasks", task=known_task(stage), **fresh[status])
        return (lambda stage: send(stage, path, verb, "tasks")) if status == "404" else None
    if verb == "get":
        return {"200": lambda stage: send(stage, path, verb, "tasks"), "404": lambda stage: send(stage, path, verb)}.get(
            status)
    other = {"task": OTHER, "options": {"seconds": 1}}
    ways = {"202": {"body": other}, "400": {"body": b"{"}, "404": {"body": {"model": "nobody", "task": TASK}},
            "413": {"body": b" " * (2 << 20)}, "422": {"body": {}}, "429": {"at": "tasks_full"},
            "503": {"at": "tasks_draining"}}
    if status in ("200", "409"):
        return adapted if status == "200" else trained
    if status == "408":
        return lambda stage: never_ending(stage, path, verb, "tasks_impatient")
    return (lambda stage: send(stage, path, verb, **{"at": "tasks", **ways[status]})) if status in ways else None


def as_admin(path):
    """How to come to what only an admin may do."""
    return {"at": "admin", "headers": {"Authorization": "Bearer " + KEY}} if path.endswith("/reload") else {}


def provocation(path, verb, status):
    """A function (stage) -> Reply that provokes a documented status."""
    if path.startswith("/tasks") and (found := of_tasks(path, verb, status)):
        return found
    admin = as_admin(path)
    ways = {
        "200": admin,
        "304": {"headers": {"Accept": "text/html", "If-None-Match": "*"}},
        "400": {"body": b"{"},
        "401": {"at": "admin" if admin else "keyed", "headers": {"Authorization": "Bearer wrong"}},
        "403": {},
        "404": ({**admin, "model": "nobody", "file": "nothing.js"} if "{" in path
                else {"body": {"grid": EXAMPLE, "model": "nobody"}}),
        "406": {"headers": {"Accept": "image/png"}},
        "413": {"body": b" " * (2 << 20)},
        "415": {"headers": {"Content-Type": "image/png"}},
        "422": {"body": {}},
        "429": {"at": "full"},
        "503": {**admin, "at": "draining"},
    }
    if status == "405":
        return lambda stage: send(stage, path, "patch", body=b"", **admin)
    if status == "408":
        return lambda stage: never_ending(stage, path, verb)
    if status == "409":
        return lambda stage: until_409(stage, path, verb)
    if status == "422" and path.endswith("/reload"):
        return lambda stage: reload_of_a_broken_file()
    return lambda stage: send(stage, path, verb, **ways[status])


def documented():
    return [(path, verb, status) for path, verb, operation in operations() for status in operation["responses"]]


@pytest.mark.parametrize("path, verb, status", documented())
def test_every_documented_status_comes_as_documented(stage, path, verb, status):
    reply = provocation(path, verb, status)(stage)
    assert str(reply.status) == status, reply.body
    response = resolve(DOCUMENT["paths"][path][verb]["responses"][status])
    if status in ("204", "304"):
        assert "content" not in response and reply.body == b""
    else:
        assert reply.headers["Content-Type"] in response["content"]
    if reply.headers.get("Content-Type", "").endswith("json"):
        check(reply.json(), response["content"][reply.headers["Content-Type"]]["schema"])
    for header in response.get("headers", {}):
        assert header == "X-Accel-Buffering" or reply.headers[header]
    if reply.headers.get("Content-Type") == "application/problem+json":
        assert reply.json()["status"] == reply.status


def test_the_document_that_is_served_is_the_source(shared_server):
    reply = shared_server.get("/openapi.json")
    assert reply.headers["Content-Type"] == "application/json"
    served = reply.json()
    assert re.fullmatch(r"\d+\.\d+\.\d+", served["info"].pop("version"))
    assert DOCUMENT["info"]["version"] == "@VERSION@"
    assert served == {**DOCUMENT, "info": {k: v for k, v in DOCUMENT["info"].items() if k != "version"}}


def test_every_path_is_documented_and_no_other(shared_server):
    assert set(shared_server.get("/").json()["paths"]) == set(DOCUMENT["paths"])


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_every_method_is_documented_and_no_other(stage, path):
    verbs = [verb.upper() for verb in VERBS if verb in DOCUMENT["paths"][path]]
    allowed = set(send(stage, path, "trace", body=b"", **as_admin(path)).headers["Allow"].split(", "))
    assert allowed == set(verbs) | ({"HEAD"} if "GET" in verbs else set())


@pytest.mark.parametrize("path, verb", [(path, verb) for path, verb, _ in operations()])
def test_a_key_is_asked_for_where_the_document_says_so(stage, path, verb):
    operation = DOCUMENT["paths"][path][verb]
    public = operation.get("security", DOCUMENT["security"]) == [{}]
    assert ("401" in operation["responses"]) != public
    assert (send(stage, path, verb, "keyed").status in (401, 403)) != public


def references(node):
    if isinstance(node, dict):
        if "$ref" in node:
            yield node
        node = list(node.values())
    if isinstance(node, list):
        yield from itertools.chain.from_iterable(references(child) for child in node)


def test_every_schema_is_one_and_every_reference_leads_somewhere():
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    used = [node["$ref"] for node in references(DOCUMENT)]
    for reference in used:
        assert isinstance(resolve({"$ref": reference}), dict)
    for kind in ("schemas", "responses", "headers", "parameters"):
        for name in DOCUMENT["components"][kind]:
            assert f"#/components/{kind}/{name}" in used, name


def test_every_type_of_problem_is_documented():
    with open(os.path.join(ROOT, "proto", "problem.c")) as file:
        names = re.findall(r'\{\d+, "([a-z-]+)", "', file.read())
    types = DOCUMENT["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
    assert len(names) > 10 and sorted("urn:trm-server:" + name for name in names) == sorted(types)


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "application/x-ndjson"])
@pytest.mark.parametrize("puzzles", ["grid", "grids"])
@pytest.mark.parametrize("rollouts", [1, 3])
def test_every_form_of_an_answer_is_valid(shared_server, accept, puzzles, rollouts):
    body = {puzzles: [EXAMPLE, EXAMPLE] if puzzles == "grids" else EXAMPLE,
            "options": {"max_steps": 3, "verify": False, "rollouts": rollouts}}
    reply = shared_server.post(body, {"Accept": accept})
    content = DOCUMENT["paths"]["/solve"]["post"]["responses"]["200"]["content"][accept]
    assert reply.status == 200 and reply.headers["Content-Type"] == accept
    if accept == "application/json":
        check(reply.json(), content["schema"])
    elif accept == "application/x-ndjson":
        lines = [json.loads(line) for line in reply.body.decode().splitlines()]
        assert len(lines) >= 2
        for line in lines:
            check(line, content["schema"])
    else:
        messages = [message for message in reply.body.decode().split("\n\n")
                    if message and not message.startswith(":")]  # a comment shows that the server lives
        assert len(messages) >= 2
        for message in messages:
            event, data = re.fullmatch(r"event: (\w+)\ndata: (.*)", message).groups()
            check(json.loads(data), content["x-events"][event])


@pytest.mark.parametrize("name", [
    example for example in DOCUMENT["paths"]["/solve"]["post"]["requestBody"]["content"]["application/json"]["examples"]])
def test_examples_work(shared_server, name):
    media = DOCUMENT["paths"]["/solve"]["post"]["requestBody"]["content"]["application/json"]
    example = media["examples"][name]["value"]
    check(example, media["schema"])
    assert shared_server.post(example).status == 200


OPTIONS = DOCUMENT["components"]["schemas"]["Options"]["properties"]


@pytest.mark.parametrize("name", OPTIONS)
def test_the_range_of_an_option_is_the_documented_one(shared_server, name):
    """The server refuses what the schema refuses, and takes what it takes."""
    option = OPTIONS[name]
    values = [True, False, "1", None, 1.5, [], {}, -1]
    values += [option[bound] + way for bound, way in (("minimum", -1), ("minimum", 0), ("maximum", 0), ("maximum", 1))
               if bound in option]
    for value in values:
        reply = shared_server.post({"grid": EXAMPLE, "options": {**({} if name == "max_steps" else ONE_STEP),
                                                                 name: value}})
        expected = 200 if is_valid(value, option) and value is not None else 422
        assert reply.status == expected, (value, reply.body)
        if reply.status == 422:
            assert reply.json()["pointer"] == "/options/" + name


BAD_BODIES = [{}, {"grid": EXAMPLE, "grids": [EXAMPLE]}, {"grids": []}, {"grid": 5}, {"grid": EXAMPLE, "typo": 1},
              {"grid": EXAMPLE, "model": 5}, {"grid": EXAMPLE, "options": []}, {"grid": EXAMPLE, "options": {"typo": 1}}]


@pytest.mark.parametrize("number", range(len(BAD_BODIES)))
def test_what_the_schema_refuses_the_server_refuses(shared_server, number):
    assert not is_valid(BAD_BODIES[number], {"$ref": "#/components/schemas/SolveRequest"})
    assert shared_server.post(BAD_BODIES[number]).status == 422
