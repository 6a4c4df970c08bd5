"""A disk goes from host to host over TLS, to who works on the step that fetches it."""

from __future__ import annotations

import io
import logging
import os
import random
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import BinaryIO

import pytest
from msgspec.structs import replace

from compute_agent import disk_server
from compute_agent.disk_server import CannotListen, DiskServer
from compute_agent.disk_source import DiskSources
from compute_agent.disks import DiskStore
from compute_agent.drivers.base import UNWATCHED, Work
from compute_agent.drivers.fake import FakeDriver
from compute_agent.epoch import Identity
from compute_agent.images import image_cache
from conductor import hosts
from conductor.certificates import Authority
from conductor.db.models import Host
from devstack.ports import free_ports
from paddock import config, tickets
from paddock.actions import Seen, StepKind
from paddock.errors import GuestHung, HypervisorError, WorkCancelled
from paddock.records import DiskSource
from tests.fixtures.certificates import Certificates, https
from tests.fixtures.cloud import wait_for
from tests.fixtures.lab import Lab

MIB = 1 << 20
DATA = 6 * MIB
SIZE = 40 * MIB
SOON = 10.0


class Slow(io.FileIO):
    """A disk that takes its time for each piece."""

    seconds = 0.1

    def read(self, size: int | None = -1, /) -> bytes:
        """As the base, later."""
        time.sleep(self.seconds)
        return super().read(-1 if size is None else size) or b""


class Scene:
    """A machine that is off on h1, and h3, which is to have its disk.

    :ivar source: what h3 was told of the disk
    """

    def __init__(self, lab: Lab, root: Path, certificates: Certificates) -> None:
        self.lab = lab
        self.root = root
        self.pki = {name: certificates.issue(name, "host") for name in ("h1", "h3")}
        self.port = free_ports(1)
        self.instance_id = lab.off("h1")
        lab.ledger.do(self.instance_id, "vm-poweron", availability_zone="az2")
        self.order = lab.started("h3")
        assert self.order.kind == StepKind.FETCH
        self.source = replace(self.order.source, store=f"https://127.0.0.1:{self.port}")
        self.conf = self._configure("h1")
        self.driver = FakeDriver(self.conf)
        self.disk = root / "h1" / "fake" / "disks" / f"{self.instance_id}.g1.raw"
        self._write_disk()
        target = self._configure("h3")
        self.here = DiskStore(root / "here", image_cache(target, root / "images"))
        self._servers: list[DiskServer] = []
        self.serve()

    def _configure(self, host: str) -> config.cfg.ConfigOpts:
        compute = {"disk_port": self.port, "pki_path": str(self.pki[host])}
        groups = {"DEFAULT": {"state_path": str(self.root / host)}, "compute": compute}
        return config.load(overrides=groups)

    def _write_disk(self) -> None:
        words = random.Random(5)
        with self.disk.open("wb") as stream:
            for place in (0, 10 * MIB + 4096, 30 * MIB):
                stream.seek(place)
                stream.write(words.randbytes(DATA // 3))
            stream.truncate(SIZE)

    def serve(self) -> None:
        """Have h1's agent give disks."""
        identity = Identity("h1")
        identity.epoch = self.lab.agents["h1"].epoch
        server = DiskServer(self.conf, identity, self.lab.ledger.agents, self.driver)
        server.start()
        self._servers.append(server)

    def hide(self) -> None:
        """End h1's agent."""
        while self._servers:
            self._servers.pop().stop(SOON)

    def bring(
        self, work: Work = UNWATCHED, source: DiskSource | None = None, seconds: float = SOON,
        pki: Path | None = None,
    ) -> Path:  # fmt: skip
        """Have the disk on h3; where it then is."""
        sources = DiskSources(self.here, str(pki or self.pki["h3"]), seconds)
        sources.bring(self.order.guest, source or self.source, 2, work)
        return self.here.path(self.instance_id, 2)

    def ask(self, ticket: str | None, path: str = tickets.DISK_PATH) -> int:
        """The status that a request gets."""
        headers = {} if ticket is None else {tickets.HEADER: ticket}
        asking = https(self.pki["h3"], "127.0.0.1", self.port)
        with closing(asking):
            asking.request("GET", path, headers=headers)
            return asking.getresponse().status

    def connected(self, source: str = "127.0.0.1") -> socket.socket:
        """A connection that has said nothing yet."""
        return socket.create_connection(
            ("127.0.0.1", self.port), timeout=SOON, source_address=(source, 0)
        )

    def left(self) -> list[str]:
        """Names of the files that h3 has."""
        return [path.name for path in self.here.root.iterdir()]


@pytest.fixture
def scene(lab: Lab, tmp_path: Path, certificates: Certificates) -> Iterator[Scene]:
    made = Scene(lab, tmp_path, certificates)
    yield made
    made.hide()


@pytest.fixture
def slowly(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Disks take their time; the moments at which one was opened."""
    opened: list[float] = []

    def open_disk(_instance_id: str, _generation: int) -> BinaryIO:
        opened.append(time.monotonic())
        return Slow(scene.disk)  # type: ignore[return-value]

    monkeypatch.setattr(scene.driver, "open_disk", open_disk)
    return opened


def watching(check: Callable[[int], None]) -> Work:
    """A line that calls with the bytes that have arrived."""
    done = 0

    def progress(now: int, _total: int) -> None:
        nonlocal done
        done = now

    return Work(progress=progress, check=lambda: check(done))


def test_a_disk_arrives_whole_and_sparse_and_its_progress_is_told(scene: Scene) -> None:
    told: list[tuple[int, int]] = []
    work = Work(progress=lambda *figures: told.append(figures), check=lambda: None)
    copy = scene.bring(work)
    assert copy.read_bytes() == scene.disk.read_bytes()
    assert copy.stat().st_blocks * 512 < 2 * DATA
    assert copy.stat().st_mode & 0o777 == 0o600
    assert told[-1][0] == told[-1][1] >= 2 * DATA
    assert sorted(told) == told


def test_a_ticket_opens_its_disk_while_its_step_runs_and_nothing_else(scene: Scene) -> None:
    ticket = scene.source.ticket
    step, _, secret = ticket.partition(".")
    assert scene.ask(ticket) == 200
    for wrong in (None, "", ".", step, f"{step}.", f"{step}.{secret[:-1]}", f".{secret}"):
        assert scene.ask(wrong) == 404, wrong
    for path in ("/", "/agent/images/x", f"{tickets.DISK_PATH}?from=-1",
                 f"/agent/disk/{scene.disk.name}", f"{tickets.DISK_PATH}?from=%D9%A3",
                 f"{tickets.DISK_PATH}?from={'9' * 5000}"):  # fmt: skip
        assert scene.ask(ticket, path) == 404, path
    scene.lab.agents["h3"].finish(scene.order)
    assert scene.ask(ticket) == 404
    with pytest.raises(HypervisorError, match="from host h1: it answered 404"):
        scene.bring()
    assert scene.left() == []


def test_a_launchs_ticket_opens_no_disk(scene: Scene) -> None:
    lab = scene.lab
    lab.ledger.create(lab.ledger.admin, host="h1")
    assert scene.ask(lab.started("h1").guest.image.ticket) == 404


def test_a_host_that_is_cut_off_neither_gives_nor_gets_disks(scene: Scene) -> None:
    lab = scene.lab
    for name in ("h1", "h3"):
        lab.ledger.turns.run(lambda turn, host=name: hosts.revoke(turn, host))
        assert scene.ask(scene.source.ticket) == 403
        lab.ledger.change(Host, name, revoked=False)
    assert scene.ask(scene.source.ticket) == 200


@pytest.mark.parametrize("who", ["nobody", "a stranger"])
def test_who_has_no_certificate_of_the_cloud_gets_no_answer(
    scene: Scene, strangers: Certificates, who: str
) -> None:
    context = ssl.create_default_context(cafile=scene.pki["h3"] / "cacert.pem")
    if who == "a stranger":
        foreign = strangers.issue("h3", "host")
        context.load_cert_chain(foreign / "cert.pem", foreign / "key.pem")
    with (
        scene.connected() as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted,
    ):
        assert _answer(encrypted) == b""


def _answer(encrypted: ssl.SSLSocket) -> bytes:
    try:
        encrypted.sendall(b"GET /agent/disk HTTP/1.0\r\n\r\n")
        return encrypted.recv(1)
    except OSError:  # an alert, or a connection that was closed
        return b""


def test_a_host_shows_its_ticket_to_none_but_the_clouds_hosts(
    scene: Scene, strangers: Certificates, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for name, pki in (("cert.pem", scene.pki["h3"]), ("key.pem", scene.pki["h3"]),
                      ("cacert.pem", strangers.ca.parent)):  # fmt: skip
        (mine / name).write_bytes((pki / name).read_bytes())
    with pytest.raises(HypervisorError, match="certificate verify failed"):
        scene.bring(pki=mine)
    assert scene.left() == []


def test_a_move_goes_on_when_the_host_comes_back(scene: Scene, slowly: list[float]) -> None:
    restarts = 0

    def check(done: int) -> None:
        nonlocal restarts
        if done >= MIB and not restarts:
            restarts += 1
            scene.hide()
            scene.serve()

    copy = scene.bring(watching(check))
    assert copy.read_bytes() == scene.disk.read_bytes()
    assert len(slowly) == 2


@pytest.mark.usefixtures("slowly")
def test_a_disk_that_shrinks_on_its_way_is_not_taken_as_whole(scene: Scene) -> None:
    def check(done: int) -> None:
        if done >= MIB:
            os.truncate(scene.disk, 20 * MIB)

    with pytest.raises(HypervisorError, match="from host h1: "):
        scene.bring(watching(check))
    assert scene.left() == []


def test_a_move_that_is_stopped_ends_and_leaves_nothing(scene: Scene, slowly: list[float]) -> None:
    def check(done: int) -> None:
        if done >= MIB:
            raise WorkCancelled

    with pytest.raises(WorkCancelled):
        scene.bring(watching(check))
    assert len(slowly) == 1
    assert scene.left() == []


@pytest.mark.usefixtures("slowly")
def test_a_host_that_hangs_is_given_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Slow, "seconds", 4.0)
    with pytest.raises(GuestHung, match="Host h1 sent nothing of the disk for 1 s"):
        scene.bring(seconds=1.0)
    assert scene.left() == []


def test_a_disk_that_is_not_there_is_a_failure_with_a_reason(scene: Scene) -> None:
    scene.disk.unlink()
    with pytest.raises(HypervisorError, match="from host h1: it answered 500"):
        scene.bring()


def test_a_disk_is_not_given_while_its_guest_runs(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene.driver, "seen", lambda _: Seen.RUNNING)
    with pytest.raises(HypervisorError, match="from host h1: it answered 500"):
        scene.bring()


def test_a_disk_that_is_larger_than_the_machines_is_not_taken(scene: Scene) -> None:
    allowed = scene.order.guest.disk_gb << 30
    os.truncate(scene.disk, allowed + 1)
    with pytest.raises(HypervisorError, match=f"of {allowed + 1} bytes, with {allowed} at most"):
        scene.bring()
    assert scene.left() == []


@pytest.fixture
def narrow(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Has h1's agent serve with less room."""

    def serve(limit: str, places: int) -> None:
        scene.hide()
        monkeypatch.setattr(disk_server, limit, places)
        scene.serve()

    return serve


def test_no_more_connections_are_taken_than_there_is_room_for(
    scene: Scene, narrow: Callable[[str, int], None]
) -> None:
    narrow("MOST", 2)
    idle = [scene.connected() for _ in range(3)]
    assert idle[2].recv(1) == b""
    for one in idle:
        one.close()
    wait_for(lambda: _is_answered(scene), "room")


def test_one_address_leaves_room_for_the_others(
    scene: Scene, narrow: Callable[[str, int], None]
) -> None:
    narrow("EACH", 2)
    with ExitStack() as idle:
        loud = [idle.enter_context(scene.connected("127.0.0.9")) for _ in range(3)]
        assert loud[2].recv(1) == b""
        assert scene.ask(scene.source.ticket) == 200


@pytest.mark.parametrize("encrypted", [False, True])
def test_who_asks_for_nothing_is_let_go_however_slowly_it_goes_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, encrypted: bool
) -> None:
    monkeypatch.setattr(disk_server, "ASKING_SECONDS", 1.0)
    asking = https(scene.pki["h3"], "127.0.0.1", scene.port)
    with closing(asking), scene.connected() as plain:
        if encrypted:
            asking.connect()
        slow = asking.sock if encrypted else plain
        beginning = b"G" if encrypted else b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
        assert any(not _is_open_after(slow, beginning[at : at + 1] or b"x") for at in range(100))


def _is_open_after(connection: socket.socket, byte: bytes) -> bool:
    """Whether nothing ends it for a while."""
    connection.settimeout(0.1)
    try:
        connection.sendall(byte)
        return connection.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def test_a_move_waits_until_there_is_room(scene: Scene, narrow: Callable[[str, int], None]) -> None:
    narrow("MOST", 1)
    idle = scene.connected()
    letting_go = threading.Timer(1.0, idle.close)
    letting_go.start()
    assert scene.bring().read_bytes() == scene.disk.read_bytes()
    letting_go.join()


def _is_answered(scene: Scene) -> bool:
    try:
        return scene.ask(scene.source.ticket) == 200
    except OSError:
        return False


def test_a_process_that_does_not_speak_for_the_host_gives_nothing_yet(scene: Scene) -> None:
    scene.lab.boot("h1")
    assert scene.ask(scene.source.ticket) == 503


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda pki: (pki / "key.pem").chmod(0o640), "readable by its owner only"),
        (lambda pki: (pki / "cert.pem").unlink(), "No such file"),
        (lambda pki: (pki / "cacert.pem").write_text("x"), "no certificate in PEM form"),
        (lambda pki: (pki / "cacrl.pem").write_text("x"), "CRL"),
    ],
)
def test_an_agent_does_not_start_with_certificates_that_are_not_right(
    scene: Scene, certificates: Certificates, spoil: Callable[[Path], object], sentence: str
) -> None:
    scene.hide()
    scene.pki["h1"] = certificates.issue("spoilt", "host")
    scene.conf.set_override("pki_path", str(scene.pki["h1"]), "compute")
    spoil(scene.pki["h1"])
    with pytest.raises(ValueError, match=rf"\[compute\] pki_path: .*{sentence}"):
        scene.serve()


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.1"])
def test_an_agent_does_not_start_where_it_cannot_listen(scene: Scene, address: str) -> None:
    scene.conf.set_override("address", address, "compute")
    with pytest.raises(CannotListen, match=rf"\[compute\] address, disk_port: {address} port"):
        scene.serve()


def test_a_disk_of_a_host_without_a_certificate_stays_there(scene: Scene) -> None:
    with pytest.raises(HypervisorError, match="Host h1 gives its disks to no other host"):
        scene.bring(source=replace(scene.source, store=""))


def test_a_certificate_that_was_taken_back_opens_nothing(
    scene: Scene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=disk_server.__name__)
    authority = Authority(tmp_path / "ca")
    authority.make()
    for name in ("h1", "h3"):
        scene.pki[name] = tmp_path / f"pki-{name}"
        shutil.copytree(authority.issue(name, "host", ["127.0.0.1"]), scene.pki[name])
    scene.conf.set_override("pki_path", str(scene.pki["h1"]), "compute")
    scene.hide()
    scene.serve()
    assert scene.ask(scene.source.ticket) == 200
    authority.revoke("h3", "host")
    shutil.copy(tmp_path / "ca" / "cacrl.pem", scene.pki["h1"])
    with pytest.raises(OSError):  # whose text is the alert's, unless its question came too late
        scene.ask(scene.source.ticket)
    wait_for(lambda: "revoked" in caplog.text, "the refusal in the log")
