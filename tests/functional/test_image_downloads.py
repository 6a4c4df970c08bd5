"""A host has an image from the API while it works on a step that needs it, and no other."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from compute_agent.images import ImageCache
from conductor import manage
from devstack.ports import free_ports
from paddock import tickets
from tests.fixtures.cloud import Client, Cloud, wait_for

MIB = 1 << 20
Create = Callable[..., str]


class Downloads:
    """A cloud whose hosts have no store, with images that differ."""

    def __init__(self, directory: Path) -> None:
        self.port = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.cloud = Cloud(
            directory,
            control={"api": {"image_store": str(directory / "images"), "port": self.port}},
            agents={"compute": {"image_url": self.url, "image_store": "/nonexistent"}},
            port=self.port,
        )
        self.directory = directory
        self.cloud.start()
        self.admin = self.cloud.sign_in("paddock-admin")
        self.member = self.cloud.sign_in("paddock-demo")
        self.flavor = min(
            self.admin.get("flavors/detail").json["flavors"], key=lambda row: row["ram"]
        )["id"]

    def add(self, name: str, *more: str) -> bytes:
        """A new image, of 3 MiB and a little; gives its content."""
        content = os.urandom(3 * MIB + 512)
        source = self.directory / f"{name}.source"
        source.write_bytes(content)
        settings = str(self.cloud.place.settings("manage"))
        image = ["image", "add", "--name", name, "--file", str(source), "--format", "raw",
                 "--store", str(self.cloud.place.images)]  # fmt: skip
        assert manage.main(["--config-file", settings, *image, *more]) == 0
        return content

    def create(self, image: str, **fields: Any) -> str:
        """A new server, accepted."""
        rows = self.member.get(f"/image/v2/images?name={image}").json["images"]
        wanted = {"name": "m", "imageRef": rows[0]["id"], "flavorRef": self.flavor} | fields
        answer = self.member.post("servers", {"server": wanted})
        assert answer.status_code == 202, answer.text
        server_id: str = answer.json["server"]["id"]
        return server_id

    def disk(self, server: dict[str, Any]) -> bytes:
        """The beginning of a server's disk."""
        host = self.admin.show(server["id"])["OS-EXT-SRV-ATTR:host"]
        disks = self.cloud.place.state(host).glob(f"**/{server['id']}.g*.raw")
        with next(iter(disks)).open("rb") as stream:
            return stream.read(3 * MIB + 512)

    def tickets(self) -> list[str]:
        """Those of all steps, as hosts are given them."""
        engine = sa.create_engine(f"sqlite:///{self.directory}/paddock.db")
        with engine.connect() as connection:
            rows = connection.execute(sa.text("SELECT id, ticket FROM steps WHERE ticket <> ''"))
            return [f"{step}.{ticket}" for step, ticket in rows]

    def ask(self, content: bytes, ticket: str | None) -> requests.Response:
        """The API's answer to somebody who wants an image."""
        headers = {} if ticket is None else {tickets.HEADER: ticket}
        where = f"{self.url}{tickets.PATH}/{hashlib.sha256(content).hexdigest()}"
        return requests.get(where, headers=headers, timeout=10)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Downloads]:
    made = Downloads(tmp_path_factory.mktemp("downloads"))
    yield made
    made.cloud.stop()


def test_a_guest_has_the_disk_of_an_image_that_came_from_the_api(site: Downloads) -> None:
    content = site.add("plain")
    server = site.member.await_state(site.create("plain"), "active")
    assert site.disk(server) == content


def test_a_ticket_opens_its_own_image_and_kernel_while_its_step_runs(
    site: Downloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = site.directory / "kernel"
    kernel.write_bytes(os.urandom(MIB))
    mine, other = site.add("mine", "--kernel", str(kernel)), site.add("other")
    before = set(site.tickets())
    hold(site, monkeypatch)
    server_id = site.create("mine")
    ticket = wait_for(lambda: next(iter(set(site.tickets()) - before), None), "a step")
    assert site.ask(mine, ticket).content == mine
    assert site.ask(kernel.read_bytes(), ticket).content == kernel.read_bytes()
    assert site.ask(other, ticket).status_code == 404
    step, _, secret = ticket.partition(".")
    for wrong in (None, "", ".", step, f"{step}.", f"{step}.{secret[:-1]}", f".{secret}", "é" * 9):
        assert site.ask(mine, wrong and wrong.encode().decode("latin-1")).status_code == 404
    monkeypatch.undo()
    site.member.await_state(server_id, "active")
    assert site.ask(mine, ticket).status_code == 404


def hold(site: Downloads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guests are launched when the patch is undone."""
    real = ImageCache.raw

    def raw(self: ImageCache, *args: Any) -> Path:
        while ImageCache.raw is raw:
            time.sleep(0.02)
        return real(self, *args)

    monkeypatch.setattr(ImageCache, "raw", raw)


@pytest.mark.parametrize("name", ["gone", "changed"])
def test_an_image_whose_file_is_gone_or_changed_makes_no_guest(site: Downloads, name: str) -> None:
    content = site.add(name)
    stored = site.directory / "images" / hashlib.sha256(content).hexdigest()
    if name == "gone":
        stored.unlink()
    else:
        stored.write_bytes(content[:-1] + b"x")
    server_id = site.create(name)
    server = wait_for(lambda: failed(site.admin, server_id), "a failure", 30)
    assert "image" in server["fault"]["details"], server["fault"]


def failed(member: Client, server_id: str) -> dict[str, Any] | None:
    server = member.show(server_id)
    return server if server["status"] == "ERROR" else None
