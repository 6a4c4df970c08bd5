"""An API of several processes: what clients see when one of them dies, or all are replaced."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from devstack.ports import free_ports
from devstack.processes import family, is_running
from tests.fixtures.cloud import wait_for

SECONDS = 30.0
WORKERS = 2


class Api:
    """A process of ours and its workers."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}/healthz"

    def workers(self) -> list[int]:
        """The processes that serve."""
        return [pid for pid in family(self.process.pid)[1:] if is_running(pid)]

    def answers(self) -> bool:
        """Whether it answers a new connection."""
        try:
            return requests.get(self.url, timeout=SECONDS).status_code == 200
        except requests.ConnectionError:
            return False

    @contextmanager
    def asked(self) -> Iterator[list[str]]:
        """Have clients ask all the time; gives what went wrong."""
        wrong: list[str] = []
        ended = threading.Event()

        def ask() -> None:
            while not ended.is_set():
                try:
                    if (got := requests.get(self.url, timeout=SECONDS)).status_code != 200:
                        wrong.append(got.text)
                except requests.RequestException as error:
                    wrong.append(repr(error))

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        yield wrong
        ended.set()
        for client in clients:
            client.join(SECONDS)


@pytest.fixture
def settings(tmp_path: Path) -> Callable[[int], Path]:
    def write(port: int) -> Path:
        path = tmp_path / "api.conf"
        path.write_text(
            f"[DEFAULT]\nhost = api\nstate_path = {tmp_path}\ntransport_url = paddock://test/\n"
            f"[api]\nworkers = {WORKERS}\nport = {port}\n"
            f"[identity]\nkey_file = {tmp_path}/token.key\n"
        )
        return path

    return write


@contextmanager
def running(command: list[str], port: int, **options: object) -> Iterator[Api]:
    process = subprocess.Popen(command, start_new_session=True, **options)  # type: ignore[call-overload]
    api = Api(process, port)
    try:
        wait_for(lambda: api.answers() and len(api.workers()) == WORKERS, "the API", SECONDS)
        yield api
    finally:
        left = family(process.pid)
        if process.poll() is None:
            process.terminate()
        process.wait(SECONDS)
        wait_for(lambda: not any(is_running(pid) for pid in left), "the workers' end", SECONDS)


@pytest.fixture
def api(settings: Callable[[int], Path]) -> Iterator[Api]:
    port = free_ports(1)
    command = [sys.executable, "-m", "api.cmd", "--config-file", str(settings(port))]
    with running(command, port) as api:
        yield api


def test_a_worker_that_dies_is_replaced_and_new_connections_are_served(api: Api) -> None:
    first, second = api.workers()
    os.kill(first, signal.SIGKILL)
    assert all(api.answers() for _ in range(50))
    wait_for(lambda: len(api.workers()) == WORKERS, "another worker", SECONDS)
    assert second in api.workers()
    assert first not in api.workers()


def test_clients_do_not_notice_that_all_workers_are_replaced(api: Api) -> None:
    before = set(api.workers())
    with api.asked() as wrong:
        api.process.send_signal(signal.SIGHUP)
        wait_for(
            lambda: len(now := set(api.workers())) == WORKERS and not now & before,
            "other workers",
            SECONDS,
        )
    assert wrong == []


def test_no_worker_outlives_the_process_that_started_it(api: Api) -> None:
    workers = api.workers()
    api.process.kill()
    wait_for(lambda: not any(is_running(pid) for pid in workers), "the workers' end", SECONDS)


def test_a_socket_that_was_passed_is_served_and_stays_open_after_it(
    settings: Callable[[int], Path],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as entrance:
        port = entrance.getsockname()[1]
        pass_on = 'exec 3<&"$1"; export LISTEN_FDS=1 LISTEN_PID=$$; shift; exec "$@"'
        number = entrance.fileno()
        command = ["bash", "-c", pass_on, "bash", str(number), sys.executable, "-m", "api.cmd"]
        command += ["--config-file", str(settings(1))]
        for _ in range(2):
            with running(command, port, pass_fds=[number]) as api:
                assert api.answers()
        socket.create_connection(("127.0.0.1", port), SECONDS).close()
