"""What is shipped for deployment fits together and fits the real server: images, compose, Kubernetes, Prometheus,
Grafana, systemd, `make install`. That all of it also runs is shown by docker/prove-*."""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess

import pytest
import yaml

from conftest import EXAMPLE, PATIENCE_S, ROOT, SERVER, clean_environment
from test_server_life import wait_until

DOCKER = os.path.join(ROOT, "docker")
BUILD = os.path.dirname(SERVER)
FAMILY = re.compile(r"\b(?:trm|process)_[a-z_]+")


def documents(*path):
    with open(os.path.join(DOCKER, *path), encoding="utf-8") as file:
        return list(yaml.safe_load_all(file))


def document(*path):
    (only,) = documents(*path)
    return only


def text(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def dashboard():
    return json.loads(text("docker", "grafana", "dashboards", "trm-server.json"))


def options():
    """{TRM_NAME: default} of every option of the server."""
    table = subprocess.run([SERVER, "--help-markdown"], capture_output=True, text=True, check=True,
                           timeout=PATIENCE_S).stdout
    rows = re.findall(r"^\| `--([a-z-]+) .*?` \| (?:`(.*?)`)? ?\|", table, re.M)
    return {"TRM_" + name.upper().replace("-", "_"): default for name, default in rows}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


# ---- metrics ----


def queries():
    """[(where, PromQL)] of everything that is asked of Prometheus."""
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield f"dashboard: {panel['title']}", target["expr"]
    for group in document("prometheus", "rules.yaml")["groups"]:
        for rule in group["rules"]:
            yield f"rule: {rule['alert']}", rule["expr"]
    for rule in document("kubernetes", "adapter-values.yaml")["rules"]["custom"]:
        yield f"adapter: {rule['name']['as']}", rule["metricsQuery"]
    for line in text("README.md").splitlines():
        for query in re.findall(r"`([^`]*\btrm_[^`]*)`", line):
            if line.startswith("| "):
                yield "README", query


def test_every_query_asks_for_metrics_that_the_server_has(start, tmp_path):
    server = start("--tasks-dir", tmp_path)
    server.solve(EXAMPLE)
    exposed = {line.split("{")[0].split(" ")[0] for line in server.get("/metrics").body.decode().splitlines()
               if not line.startswith("#")}
    asked = [(where, name) for where, query in queries() for name in FAMILY.findall(query)]
    assert len(asked) > 50
    assert [(where, name) for where, name in asked if name not in exposed] == []


def test_every_outcome_and_halting_reason_that_a_query_names_exists(shared_server):
    metrics = shared_server.get("/metrics").body.decode()
    named = {value for _, query in queries() for values in re.findall(r'halted_by!?=~?"([^"]*)"', query)
             for value in values.split("|")}
    assert named
    for reason in named:
        assert f'halted_by="{reason}"' in metrics
    outcomes = {value for _, query in queries() for value in re.findall(r'outcome="([^"]*)"', query)}
    assert outcomes <= {"ok", "refused", "shed", "failed", "gone"}


def test_panels_have_a_place_of_their_own_and_the_provisioned_source():
    places = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & places and at["x"] + at["w"] <= 24, panel["title"]
        places |= cells
    sources = {source["uid"] for source in document("grafana", "provisioning", "datasources",
                                                    "prometheus.yaml")["datasources"]}
    assert {target["datasource"]["uid"] for panel in dashboard()["panels"] for target in panel["targets"]} == sources


@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool (package prometheus)")
def test_alerts_fire_on_what_they_are_for_and_on_nothing_else():
    result = subprocess.run(["promtool", "test", "rules", "rules_test.yaml"], cwd=os.path.join(DOCKER, "prometheus"),
                            capture_output=True, text=True, timeout=PATIENCE_S)
    assert result.returncode == 0, result.stdout + result.stderr


# ---- containers ----


def test_variables_of_images_and_manifests_are_options():
    known = options()
    assert known["TRM_PORT"] == "8080"
    given = set(re.findall(r"\bTRM_[A-Z_]+(?==)", text("Dockerfile")))
    given |= set(document("compose.yaml")["services"]["trm-server"]["environment"])
    given |= {variable["name"] for variable in container()["env"]}
    assert given >= {"TRM_HOST", "TRM_MODEL", "TRM_WORKERS", "TRM_DRAIN_TIMEOUT"}
    assert given <= set(known)


def test_what_compose_mounts_and_builds_is_there():
    services = document("compose.yaml")["services"]
    mounts = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    for mount in mounts:
        if mount.startswith("."):
            assert os.path.isdir(os.path.join(DOCKER, mount)), mount
    assert os.path.isfile(os.path.join(DOCKER, services["trm-server"]["build"]["context"], "Dockerfile"))
    for service in ("trm-server", "haproxy"):
        assert services[service]["read_only"] and services[service]["cap_drop"] == ["ALL"]
    for file in re.findall(r"/etc/haproxy/(\S+?)[,\]]", str(services["haproxy"]["command"]).replace("'", "")):
        assert os.path.isfile(os.path.join(DOCKER, "haproxy", file))


def test_whoever_stops_a_server_is_more_patient_than_its_drain():
    compose = document("compose.yaml")["services"]["trm-server"]
    assert int(compose["stop_grace_period"].rstrip("s")) > int(compose["environment"]["TRM_DRAIN_TIMEOUT"])
    proxy = document("compose.yaml")["services"]["haproxy"]
    last = re.search(r"hard-stop-after (\d+)s", text("docker", "haproxy", "haproxy.cfg"))
    assert int(proxy["stop_grace_period"].rstrip("s")) > int(last[1])
    unit = text("docker", "systemd", "trm-server.service")
    production = json.loads(text("config", "server", "production.json"))
    assert int(re.search(r"TimeoutStopSec=(\d+)", unit)[1]) > production["drain_timeout"]
    pod = deployment()["spec"]["template"]["spec"]
    drain = next(int(v["value"]) for v in container()["env"] if v["name"] == "TRM_DRAIN_TIMEOUT")
    sleep = int(container()["lifecycle"]["preStop"]["exec"]["command"][1])
    assert sleep > 0 and pod["terminationGracePeriodSeconds"] > sleep + drain


@pytest.mark.skipif(not shutil.which("haproxy"), reason="no haproxy")
def test_haproxy_accepts_its_configuration():
    result = subprocess.run(["haproxy", "-c", "-f", "haproxy.cfg", "-f", "replicas.cfg"], capture_output=True,
                            text=True, cwd=os.path.join(DOCKER, "haproxy"), timeout=PATIENCE_S,
                            env={**os.environ, "TRM_PROXY_BIND": ":8080", "TRM_PROXY_STATS_BIND": ":8405"})
    assert result.returncode == 0 and "WARNING" not in result.stderr, result.stderr


@pytest.mark.skipif(not shutil.which("haproxy"), reason="no haproxy")
def test_a_stream_comes_through_haproxy_step_by_step(shared_server, tmp_path):
    """The first step is there while the server is at work on the others."""
    (tmp_path / "replicas.cfg").write_text(f"backend replicas\n    server one 127.0.0.1:{shared_server.port}\n")
    ports = [free_port(), free_port()]
    proxy = subprocess.Popen(["haproxy", "-db", "-f", os.path.join(DOCKER, "haproxy", "haproxy.cfg"), "-f",
                              tmp_path / "replicas.cfg"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                             env={**os.environ, "TRM_PROXY_BIND": f"127.0.0.1:{ports[0]}",
                                  "TRM_PROXY_STATS_BIND": f"127.0.0.1:{ports[1]}"})
    connection = http.client.HTTPConnection("127.0.0.1", ports[0], timeout=PATIENCE_S)
    try:
        wait_until(lambda: proxy.poll() is not None or listens(ports[0]))
        connection.request("POST", "/solve", json.dumps({"grids": [EXAMPLE] * 64, "options": {
            "max_steps": 256, "no_halt": True, "verify": False}}), {"Accept": "text/event-stream"})
        response = connection.getresponse()
        assert response.status == 200 and response.readline() == b"event: step\n"
        assert re.search(r"^trm_slots_busy\S* [1-9]", shared_server.get("/metrics").body.decode(), re.M)
    finally:
        connection.close()
        proxy.kill()
        proxy.wait()


# ---- Kubernetes ----


def manifests():
    names = document("kubernetes", "kustomization.yaml")["resources"]
    return {manifest["kind"]: manifest for name in names for manifest in documents("kubernetes", name)}


def deployment():
    return manifests()["Deployment"]


def container():
    (only,) = deployment()["spec"]["template"]["spec"]["containers"]
    return only


def test_manifests_point_at_each_other():
    kinds = manifests()
    assert set(kinds) == {"Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "ServiceMonitor"}
    labels = deployment()["spec"]["template"]["metadata"]["labels"]
    assert deployment()["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert kinds["Service"]["spec"]["selector"].items() <= labels.items()
    assert kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    monitor = kinds["ServiceMonitor"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= kinds["Service"]["metadata"]["labels"].items()
    (service_port,) = kinds["Service"]["spec"]["ports"]
    (container_port,) = container()["ports"]
    assert monitor["endpoints"][0]["port"] == service_port["name"]
    assert service_port["targetPort"] == container_port["name"]
    assert str(container_port["containerPort"]) == options()["TRM_PORT"]
    target = kinds["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment()["metadata"]["name"])
    images = [image["name"] for image in document("kubernetes", "kustomization.yaml")["images"]]
    assert container()["image"] in images
    # The autoscaler decides how many there are; the alerts know servers by this name.
    assert "replicas" not in deployment()["spec"]
    assert kinds["Service"]["metadata"]["labels"][monitor["jobLabel"]] == "trm-server"


def test_the_autoscaler_asks_for_a_metric_that_the_adapter_makes():
    (metric,) = manifests()["HorizontalPodAutoscaler"]["spec"]["metrics"]
    made = [rule["name"]["as"] for rule in document("kubernetes", "adapter-values.yaml")["rules"]["custom"]]
    assert metric["pods"]["metric"]["name"] in made


def test_probes_ask_for_paths_that_the_server_has(shared_server):
    probes = [container()[kind]["httpGet"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")]
    for probe in probes:
        assert shared_server.get(probe["path"]).status == 200 and probe["port"] == container()["ports"][0]["name"]
    assert probes[1]["path"] == "/health/ready" and probes[2]["path"] == "/health/live"
    assert shared_server.get(manifests()["ServiceMonitor"]["spec"]["endpoints"][0]["path"]).status == 200


def test_pods_have_no_rights_and_known_needs():
    context = container()["securityContext"]
    assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    pod = deployment()["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert set(container()["resources"]) == {"requests", "limits"}


# ---- make install ----


def install(tree):
    subprocess.run(["make", "install-files", f"BUILD={os.path.abspath(BUILD)}", f"PREFIX={tree}/usr",
                    f"ETC={tree}/etc"], cwd=ROOT, check=True, capture_output=True, timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The tree that `make install` makes of these programs."""
    if not os.path.exists(os.path.join(BUILD, "man", "trm-server.1")):
        pytest.skip("no manual pages: make man")
    tree = tmp_path_factory.mktemp("tree")
    install(tree)
    return tree


def test_installed_programs_have_manual_pages_that_name_every_option(installed):
    programs = os.listdir(installed / "usr/bin")
    assert "trm-server" in programs
    for program in programs:
        page = (installed / f"usr/share/man/man1/{program}.1").read_text().replace("\\-", "-")
        said = subprocess.run([installed / "usr/bin" / program, "--help"], capture_output=True, text=True, check=True,
                              timeout=PATIENCE_S).stdout
        flags = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", said))
        assert flags and [flag for flag in flags if flag not in page] == [], program


def test_an_installed_server_starts_as_its_unit_says(installed):
    unit = (installed / "usr/lib/systemd/system/trm-server.service").read_text()
    command = re.search("^ExecStart=(.*)", unit, re.M)[1].split()
    process = subprocess.Popen([*command, "--port", "0"], stderr=subprocess.PIPE, text=True, env=clean_environment())
    log = []
    while "listening" not in (line := process.stderr.readline()) and line:
        log.append(line)
    process.terminate()
    process.communicate(timeout=PATIENCE_S)
    assert line and process.returncode == 0, log


def test_installing_again_keeps_the_settings(installed):
    path = installed / "etc/server.json"
    before = path.read_text()
    path.write_text('{"port": 1}')
    install(installed)
    kept = path.read_text()
    path.write_text(before)
    assert kept == '{"port": 1}'


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_systemd_understands_the_units(installed):
    units = installed / "usr/lib/systemd/system"
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", units / "trm-server.service",
                             units / "trm-server.socket"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert [line for line in result.stderr.splitlines() if "trm-server" in line] == []
