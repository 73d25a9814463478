"""The files of the playground as a browser gets them: types, caching, compression, policy, weight."""

import gzip
import os
import re

import pytest

from conftest import ROOT, Server

HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
TYPES = {"html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8",
         "svg": "image/svg+xml"}
FILES = sorted(name for name in os.listdir(os.path.join(ROOT, "server", "web")) if name.split(".")[-1] in TYPES)


def content(name):
    with open(os.path.join(ROOT, "server", "web", name), "rb") as file:
        return file.read()


def get(server, name, headers=None, method="GET"):
    path = "/" if name == "index.html" else "/web/" + name
    return server.request(method, path, headers={**(HTML if name == "index.html" else {}), **(headers or {})})


def test_browsers_get_the_page_and_programs_the_paths(shared_server):
    assert get(shared_server, "index.html").body == content("index.html")
    for accept in ("*/*", "application/json", "application/json, text/html"):
        assert shared_server.request("GET", "/", headers={"Accept": accept}).json()["server"] == "trm-server"
    assert shared_server.get("/").json()["server"] == "trm-server"


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_served_as_it_is_with_its_type_and_a_strict_policy(shared_server, name):
    reply = get(shared_server, name)
    assert reply.status == 200 and reply.body == content(name)
    assert reply.headers["Content-Type"] == TYPES[name.split(".")[-1]]
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert "Content-Encoding" not in reply.headers
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy


@pytest.mark.parametrize("name", FILES)
def test_a_file_comes_compressed_to_those_who_take_gzip(shared_server, name):
    reply = get(shared_server, name, {"Accept-Encoding": "br;q=0.5, GZIP"})
    assert reply.headers["Content-Encoding"] == "gzip" and "Accept-Encoding" in reply.headers["Vary"]
    assert gzip.decompress(reply.body) == content(name)
    assert get(shared_server, name, {"Accept-Encoding": "gzip;q=0"}).body == content(name)


def test_an_etag_spares_the_body_until_it_no_longer_holds(shared_server):
    for coding in ({}, {"Accept-Encoding": "gzip"}):
        for name in ("index.html", "app.js"):
            etag = get(shared_server, name, coding).headers["ETag"]
            for known in (etag, "W/" + etag, f'"other", {etag}', "*"):
                reply = get(shared_server, name, {**coding, "If-None-Match": known})
                assert (reply.status, reply.body, reply.headers["ETag"]) == (304, b"", etag)
                assert reply.headers["Cache-Control"] == "no-cache" and "Accept-Encoding" in reply.headers["Vary"]
            for other in ('"other"', etag[:-2] + '"', ""):
                assert get(shared_server, name, {**coding, "If-None-Match": other}).status == 200


def test_the_two_forms_of_a_file_have_two_etags(shared_server):
    plain, packed = get(shared_server, "app.js"), get(shared_server, "app.js", {"Accept-Encoding": "gzip"})
    assert plain.headers["ETag"] != packed.headers["ETag"]


def test_head_has_the_headers_of_get(shared_server):
    for name in ("index.html", "style.css"):
        head, whole = get(shared_server, name, method="HEAD"), get(shared_server, name)
        assert head.status == 200 and head.body == b""
        for header in ("ETag", "Content-Length", "Content-Type", "Content-Security-Policy"):
            assert head.headers[header] == whole.headers[header]


@pytest.mark.parametrize("name", ["nothing.js", "embed.py", "..%2f..%2fREADME.md", "app.js%0a", "x" * 200])
def test_other_names_are_404(shared_server, name):
    assert shared_server.get("/web/" + name).status == 404


def test_all_files_together_weigh_less_than_150_kb(shared_server):
    assert sum(len(content(name)) for name in FILES) < 150_000


def test_what_files_refer_to_is_there_and_on_this_server(shared_server):
    for name in FILES:
        text = content(name).decode()
        links = re.findall(r'(?:src|href)="(?!#)([^"]+)"', text)
        modules = re.findall(r'from "\./([^"]+)"', text)
        for link in links:
            assert shared_server.get("/" + link).status == 200, link
        for module in modules:
            assert module in FILES, module
        foreign = set(re.findall(r'https?://[^\s"\'<)]+', text)) - {"http://www.w3.org/2000/svg"}
        assert not foreign, name


def test_the_first_view_waits_for_no_chain_of_imports():
    """Whatever it imports is named in the page, so that all of it is asked for at once."""
    preloaded = set(re.findall(r'rel="modulepreload" href="web/([^"]+)"', content("index.html").decode()))
    for name in preloaded:
        assert set(re.findall(r'from "\./([^"]+)"', content(name).decode())) <= preloaded, name
    assert {"app.js", "sudoku.js"} <= preloaded


def test_the_page_needs_no_key():
    server = Server("--api-keys", "a-key-of-a-client")
    try:
        assert get(server, "index.html").status == get(server, "app.js").status == 200
        assert server.get("/models").status == 401
    finally:
        assert server.stop() == 0
