"""What a service manager does: it hears of readiness, reloads and the end, and may hold the socket."""

import os
import signal
import socket
import subprocess

import pytest

from conftest import PATIENCE_S, ROOT, SERVER, clean_environment, model_path
from test_server_life import wait_until


class Manager:
    """The receiving end of NOTIFY_SOCKET."""

    def __init__(self, name):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(name.replace("@", "\0", 1))
        self.socket.settimeout(PATIENCE_S)

    def next(self):
        return self.socket.recv(4096).decode()


@pytest.mark.parametrize("abstract", [False, True])
def test_a_manager_hears_of_readiness_reload_and_end(start, tmp_path, abstract):
    name = f"@trm-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    manager = Manager(name)
    server = start(environment={"NOTIFY_SOCKET": name})
    assert manager.next() == "READY=1"
    assert server.get("/health/ready").status == 200
    server.process.send_signal(signal.SIGHUP)
    assert manager.next().startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert manager.next() == "READY=1"
    assert server.stop() == 0
    assert manager.next() == "STOPPING=1"
    manager.socket.close()


def test_a_watchdog_gets_signs_of_life(start, tmp_path):
    manager = Manager(str(tmp_path / "notify"))
    server = start(environment={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"})
    assert [manager.next() for _ in range(4)] == ["READY=1"] + ["WATCHDOG=1"] * 3
    assert server.stop() == 0


def test_a_watchdog_of_another_process_gets_none(start, tmp_path):
    manager = Manager(str(tmp_path / "notify"))
    server = start(environment={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000",
                                "WATCHDOG_PID": str(os.getpid())})
    assert manager.next() == "READY=1"
    assert server.stop() == 0
    assert manager.next() == "STOPPING=1"


def test_a_manager_that_is_gone_harms_nothing(start, tmp_path):
    server = start(environment={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert server.is_healthy()
    wait_until(lambda: any("does not hear us" in line for line in server.log))
    assert server.stop() == 0


def activate(passed, count=1):
    """Starts the server as systemd does, with `passed` as descriptor 3 and its own process id in LISTEN_PID."""
    command = ["/bin/sh", "-c", 'export LISTEN_PID=$$; exec "$@"', "sh", SERVER, "--model", model_path(), "--port", "1"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, pass_fds=[3],
                            preexec_fn=lambda: os.dup2(passed.fileno(), 3),
                            env=clean_environment({"LISTEN_FDS": str(count)}))


def test_an_inherited_socket_is_served():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = activate(listener)
        connection = socket.create_connection(listener.getsockname(), timeout=PATIENCE_S)
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
        connection.close()
        process.terminate()
        log = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 0 and answer.startswith(b"HTTP/1.1 200")
    assert f'msg="listening" port={port}' in log


def test_what_is_no_listening_socket_is_refused():
    with socket.socket() as idle:
        process = activate(idle)
        log = process.communicate(timeout=PATIENCE_S)[1]
        assert process.returncode == 1 and "LISTEN_FDS" in log


def test_several_sockets_are_refused():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = activate(listener, count=2)
        log = process.communicate(timeout=PATIENCE_S)[1]
        assert process.returncode == 1 and "LISTEN_FDS" in log


def test_sockets_for_another_process_are_left_alone(start):
    server = start(environment={"LISTEN_FDS": "1", "LISTEN_PID": "1"})
    assert server.is_healthy()
    wait_until(lambda: any("host=127.0.0.1" in line for line in server.log))
