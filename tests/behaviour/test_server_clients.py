"""Clients that people have, unchanged: requests, httpx, aiohttp, curl, KServe's and Triton's. Also as streams."""

import asyncio
import json
import shutil
import subprocess

import pytest

from conftest import EXAMPLE, PATIENCE_S

requests = pytest.importorskip("requests")
httpx = pytest.importorskip("httpx")
aiohttp = pytest.importorskip("aiohttp")

STEPS = 4
BODY = {"grid": EXAMPLE, "options": {"max_steps": STEPS, "no_halt": True}}


@pytest.fixture
def url(shared_server):
    return "http://127.0.0.1:%d" % shared_server.port


def events_of(lines):
    """Server-sent events from text lines, as a browser's EventSource reads them."""
    event, data = "message", []
    for line in lines:
        if line == "":
            if data:
                yield event, json.loads("\n".join(data))
            event, data = "message", []
        elif line.startswith(":"):
            continue
        else:
            field, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            event = value if field == "event" else event
            data += [value] if field == "data" else []


def check_events(events):
    assert [kind for kind, _ in events] == ["step"] * STEPS + ["answer"]
    assert [data["step"] for _, data in events[:-1]] == list(range(1, STEPS + 1))
    assert events[-1][1]["answer"] == events[-2][1]["answer"]


def check_answer(answer):
    assert answer["steps"] == STEPS and len(answer["answer"]) == 9


def test_requests(url):
    with requests.Session() as session:
        for _ in range(3):
            reply = session.post(url + "/solve", json=BODY, timeout=PATIENCE_S)
            assert reply.status_code == 200 and reply.ok
            check_answer(reply.json())
        refused = session.post(url + "/solve", json={"grid": "x"}, timeout=PATIENCE_S)
        assert refused.status_code == 422 and refused.json()["pointer"] == "/grid"


def test_requests_streams_events(url):
    with requests.post(url + "/solve", json=BODY, headers={"Accept": "text/event-stream"}, stream=True,
                       timeout=PATIENCE_S) as reply:
        check_events(list(events_of(reply.iter_lines(decode_unicode=True))))


def test_httpx(url):
    with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        for _ in range(3):
            check_answer(client.post("/solve", json=BODY).json())
        assert client.get("/models").json()["models"]
        with client.stream("POST", "/solve", json=BODY, headers={"Accept": "application/x-ndjson"}) as reply:
            lines = [json.loads(line) for line in reply.iter_lines() if line]
        assert [line["type"] for line in lines] == ["step"] * STEPS + ["answer"]


def test_httpx_with_many_requests_at_once(url):
    async def ask_all():
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:
            return await asyncio.gather(*(client.post("/solve", json=BODY) for _ in range(20)))

    for reply in asyncio.run(ask_all()):
        assert reply.status_code == 200
        check_answer(reply.json())


def test_aiohttp(url):
    async def ask():
        async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session:
            for _ in range(3):
                async with session.post("/solve", json=BODY) as reply:
                    assert reply.status == 200
                    check_answer(await reply.json())
            async with session.post("/solve", json=BODY, headers={"Accept": "text/event-stream"}) as reply:
                assert reply.content_type == "text/event-stream"
                lines = [line.decode().rstrip("\n") async for line in reply.content]
            async with session.post("/solve", json={"grid": "x"}) as refused:
                assert refused.status == 422 and refused.content_type == "application/problem+json"
            return lines

    check_events(list(events_of(asyncio.run(ask()))))


def test_aiohttp_leaves_a_stream_and_goes_on(url):
    async def ask():
        async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session:
            for _ in range(3):
                async with session.post("/solve", json=BODY, headers={"Accept": "text/event-stream"}) as reply:
                    assert await reply.content.readline() == b"event: step\n"
            async with session.post("/solve", json=BODY) as reply:
                check_answer(await reply.json())

    asyncio.run(ask())


def kserve_body(**members):
    """As tritonclient.http writes it without its binary extension: cells in one flat list, outputs by name."""
    cells = [0 if c == "." else int(c) for c in EXAMPLE]
    return {"id": "7", "inputs": [{"name": "grid", "shape": [1, 81], "datatype": "INT32", "data": cells}], **members}


def test_a_client_of_kserve(url):
    """What tritonclient.http and KServe's InferenceRESTClient ask, in their order, and what they read of it."""
    with requests.Session() as session:
        for path in ("/v2/health/live", "/v2/health/ready"):
            assert session.get(url + path, timeout=PATIENCE_S).status_code == 200
        model, = session.get(url + "/models", timeout=PATIENCE_S).json()["models"]
        path = f"{url}/v2/models/{model['name']}"
        assert session.get(path + "/ready", timeout=PATIENCE_S).status_code == 200
        tensor, = session.get(path, timeout=PATIENCE_S).json()["inputs"]
        assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("grid", "INT32", [-1, 81])
        wish = [{"name": "answer", "parameters": {"binary_data": False}}, {"name": "halted_by"}]
        for body in (kserve_body(outputs=wish), kserve_body(parameters={"binary_data_output": True, "priority": 2})):
            # Without a type, as geventhttpclient sends it.
            reply = session.post(path + "/infer", data=json.dumps(body).encode(), timeout=PATIENCE_S)
            assert reply.status_code == 200 and "Inference-Header-Content-Length" not in reply.headers
            result = reply.json()
            assert result["id"] == "7" and result["model_name"] == model["name"]
            outputs = {output["name"]: output for output in result["outputs"]}
            assert outputs["answer"]["shape"] == [1, 81] and len(outputs["answer"]["data"]) == 81
            assert outputs["halted_by"]["datatype"] == "BYTES" and outputs["halted_by"]["data"] == ["verified"]


def curl(*arguments):
    if not shutil.which("curl"):
        pytest.skip("no curl")
    done = subprocess.run(["curl", "-sS", *arguments], stdout=subprocess.PIPE, timeout=PATIENCE_S, check=True)
    return done.stdout.decode()


def test_curl(url):
    check_answer(json.loads(curl(url + "/solve", "-d", json.dumps(BODY))))
    check_answer(json.loads(curl(url + "/solve", "--json", json.dumps(BODY))))
    assert json.loads(curl(url + "/solve", "-d", "{"))["status"] == 400
    assert curl("-I", url + "/models").startswith("HTTP/1.1 200 OK\r\n")
    check_events(list(events_of(curl("-N", "-H", "Accept: text/event-stream", url + "/solve", "-d",
                                     json.dumps(BODY)).splitlines())))


def test_curl_of_http_1_0(url):
    """No chunks then: a stream ends with its connection."""
    check_answer(json.loads(curl("--http1.0", url + "/solve", "-d", json.dumps(BODY))))
    assert curl("--http1.0", "-I", url + "/models").splitlines()[0].split()[1] == "200"
    head, _, events = curl("--http1.0", "-i", "-N", "-H", "Accept: text/event-stream", url + "/solve", "-d",
                           json.dumps(BODY)).partition("\r\n\r\n")
    assert "chunked" not in head.lower()
    check_events(list(events_of(events.splitlines())))


def test_curl_sends_a_body_from_a_pipe(url):
    if not shutil.which("curl"):
        pytest.skip("no curl")
    done = subprocess.run(["curl", "-sS", "-T", "-", "-X", "POST", url + "/solve"], input=json.dumps(BODY).encode(),
                          stdout=subprocess.PIPE, timeout=PATIENCE_S, check=True)
    check_answer(json.loads(done.stdout))
