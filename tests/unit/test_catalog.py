"""Flavors, images, networks, zones, aggregates and hosts, as the API is answered."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from conductor.bootstrap import NewImage, ensure_image
from conductor.catalog_endpoint import CatalogEndpoint
from conductor.db.models import Host, Network, Pause, User
from conductor.identity import Identities
from conductor.image_store import Stored
from conductor.passwords import Passwords
from conductor.presence import Presence
from conductor.senders import Senders
from paddock.clients import CatalogClient
from paddock.context import RequestContext
from paddock.errors import BadRequest, Conflict, Forbidden, NotFound, Unauthorized
from paddock.records import (
    AggregateRecord,
    FlavorRecord,
    HostRecord,
    ImageRecord,
    Listing,
    NetworkRecord,
    ZoneRecord,
)
from tests.fixtures.ledger import START, Clock, Direct, Ledger
from tests.fixtures.model_agent import Agent, Machine, World, run_all

KINDS: dict[str, Any] = {
    "flavors": FlavorRecord,
    "images": ImageRecord,
    "networks": NetworkRecord,
    "zones": ZoneRecord,
    "aggregates": AggregateRecord,
    "hosts": HostRecord,
}


class Office:
    """The catalog of a ledger, with three hosts in two zones."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ledger = Ledger("sqlite://", clock=self.clock)
        self.admin, self.member = self.ledger.admin, self.ledger.member
        identities = Identities(self.ledger.turns, Passwords())
        senders = Senders(self.ledger.conf)
        endpoint = CatalogEndpoint(self.ledger.turns, self.ledger.policy, senders, identities)
        self.client = CatalogClient(Direct(endpoint))
        self.agents = {
            name: self._agent(name, zone)
            for name, zone in {"h1": "az1", "h2": "az1", "h3": "az2"}.items()
        }
        self.work()

    def _agent(self, name: str, zone: str) -> Agent:
        machine = Machine(name, zone)
        agent = Agent(self.ledger.agents, World(), machine, self.ledger.new_id())
        agent.hello()
        return agent

    def work(self) -> None:
        run_all(self.agents)

    def silence(self, *names: str) -> None:
        """Have hosts be judged dead."""
        for name in names:
            self.ledger.change(Host, name, state="down")

    def list(self, collection: str, who: RequestContext | None = None, **listing: Any) -> list[Any]:
        asked = Listing(**listing)
        found: list[Any] = self.client.list(who or self.admin, collection, KINDS[collection], asked)
        return found

    def names(self, collection: str, **listing: Any) -> list[str]:
        return [record.name for record in self.list(collection, **listing)]

    def get(self, collection: str, key: str, who: RequestContext | None = None) -> Any:
        return self.client.get(who or self.admin, collection, KINDS[collection], key)

    def create(self, collection: str, who: RequestContext | None = None, **fields: Any) -> Any:
        return self.client.create(who or self.admin, collection, KINDS[collection], fields)

    def update(self, collection: str, key: str, **changes: Any) -> Any:
        return self.client.update(self.admin, collection, KINDS[collection], key, changes)

    def delete(self, collection: str, key: str) -> None:
        self.client.delete(self.admin, collection, key)

    def flavor(self, name: str, **fields: Any) -> FlavorRecord:
        size = {"vcpus": 1, "memory_mb": 512, "disk_gb": 1}
        return self.create("flavors", name=name, **(size | fields))  # type: ignore[no-any-return]


@pytest.fixture
def office() -> Iterator[Office]:
    office = Office()
    yield office
    office.ledger.close()


# --- flavors


def test_a_flavor_can_be_made_found_changed_and_removed(office: Office) -> None:
    made = office.flavor("big", id="7", memory_mb=4096, extra_specs={"a": "1"})
    assert office.get("flavors", "7") == made
    changed = office.update("flavors", "7", description="d", extra_specs={"a": None, "b": "2"})
    assert (changed.description, changed.extra_specs) == ("d", {"b": "2"})
    office.delete("flavors", "7")
    for gone in (lambda: office.get("flavors", "7"), lambda: office.delete("flavors", "7")):
        with pytest.raises(NotFound):
            gone()


def test_a_flavor_without_an_id_gets_a_uuid(office: Office) -> None:
    assert uuid.UUID(office.flavor("x").id)


def test_ids_and_names_of_flavors_are_taken_once(office: Office) -> None:
    office.flavor("x", id="7")
    with pytest.raises(Conflict, match="ID 7 already"):
        office.flavor("y", id="7")
    with pytest.raises(Conflict, match="name x already"):
        office.flavor("x")


def test_only_what_may_change_of_a_flavor_can(office: Office) -> None:
    office.flavor("x", id="7")
    with pytest.raises(BadRequest, match="vcpus"):
        office.update("flavors", "7", vcpus=9)
    with pytest.raises(BadRequest, match="vcpus"):
        office.flavor("y", vcpus="many")


def test_private_flavors_are_an_administrators(office: Office) -> None:
    office.flavor("secret", id="7", is_public=False)
    everything = {"filters": {"is_public": None}}
    assert "secret" not in office.names("flavors")
    assert "secret" in office.names("flavors", **everything)
    assert office.names("flavors", filters={"is_public": False}) == ["secret"]
    assert "secret" not in office.names("flavors", who=office.member, **everything)
    with pytest.raises(NotFound):
        office.get("flavors", "7", office.member)


def test_a_list_is_filtered_sorted_and_paged(office: Office) -> None:
    for number, memory in enumerate((512, 256, 1024, 256)):
        office.flavor(f"f{number}", id=f"id{number}", memory_mb=memory)
    order = [("memory_mb", "desc"), ("name", "asc")]
    assert office.names("flavors", sort=order) == ["f2", "f0", "f1", "f3"]
    assert office.names("flavors", sort=order, limit=2, marker="id2") == ["f0", "f1"]
    assert office.names("flavors", filters={"min_memory_mb": 512}) == ["f0", "f2"]
    assert office.names("flavors", filters={"name": ["f1", "f3", "f9"]}) == ["f1", "f3"]
    for wrong in ({"marker": "no"}, {"sort": [("no", "asc")]}, {"filters": {"no": 1}}):
        with pytest.raises(BadRequest):
            office.list("flavors", **wrong)


# --- images, networks


def image(office: Office, name: str, checksum: str = "a") -> str:
    new = NewImage(name, "raw", Stored("file", checksum * 64, 5, 1))
    return office.ledger.turns.run(lambda turn: ensure_image(turn, new))


def test_images_are_listed_newest_first_and_shown_with_properties(office: Office) -> None:
    office.clock.advance(1)
    key = image(office, "new")
    assert office.names("images", who=office.member) == ["new", "guest"]
    assert office.names("images", filters={"id": [key]}) == ["new"]
    shown = office.get("images", key, office.member)
    assert (shown.size, shown.checksum, shown.properties) == (5, "a" * 64, {})
    with pytest.raises(NotFound):
        office.get("images", str(uuid.uuid4()))


def test_a_replaced_image_is_no_longer_shown(office: Office) -> None:
    old = image(office, "new")
    assert image(office, "new") == old
    assert image(office, "new", "b") != old
    assert office.names("images", filters={"name": "new"}) == ["new"]
    with pytest.raises(NotFound):
        office.get("images", old)


def test_another_projects_network_is_not_there(office: Office) -> None:
    key = office.ledger.new_id()
    addresses = {"cidr": "10.8.0.0/24", "first": "10.8.0.9", "last": "10.8.0.99"}
    office.ledger.add(Network(id=key, name="theirs", project_id="other", **addresses))
    assert office.names("networks", who=office.member) == ["net"]
    with pytest.raises(NotFound):
        office.get("networks", key, office.member)
    assert office.get("networks", key).name == "theirs"


# --- zones and aggregates


def test_zones_are_those_of_hosts_and_tell_whether_one_is_open(office: Office) -> None:
    office.silence("h3")
    assert [(zone.name, zone.available, zone.hosts) for zone in office.list("zones")] == [
        ("az1", True, {}),
        ("az2", False, {}),
    ]
    (first, _) = office.list("zones", filters={"detail": True})
    assert first.hosts == {"h1": True, "h2": True}
    with pytest.raises(Forbidden):
        office.list("zones", who=office.member, filters={"detail": True})


def zone_of(office: Office, host: str) -> str:
    return str(office.get("hosts", host).zone)


def test_an_aggregate_with_a_zone_moves_its_hosts_there_and_back(office: Office) -> None:
    made = office.create("aggregates", name="fast", zone="ssd")
    key = str(made.id)
    assert office.update("aggregates", key, add_host="h1").hosts == ["h1"]
    assert zone_of(office, "h1") == "ssd"
    office.update("aggregates", key, zone="nvme")
    assert zone_of(office, "h1") == "nvme"
    assert office.update("aggregates", key, remove_host="h1").hosts == []
    assert zone_of(office, "h1") == "az1"
    office.delete("aggregates", key)
    assert office.list("aggregates") == []


def test_metadata_of_an_aggregate_is_merged(office: Office) -> None:
    key = str(office.create("aggregates", name="fast").id)
    office.update("aggregates", key, metadata={"a": "1", "b": "2"})
    assert office.update("aggregates", key, metadata={"a": None}).metadata == {"b": "2"}


def test_a_host_cannot_be_in_two_zones(office: Office) -> None:
    for name, zone in (("one", "z1"), ("two", "z2"), ("free", None)):
        office.create("aggregates", name=name, zone=zone)
    one, two, free = (str(record.id) for record in office.list("aggregates"))
    office.update("aggregates", one, add_host="h1")
    office.update("aggregates", free, add_host="h1")
    with pytest.raises(Conflict, match="two availability zones: z1 and z2"):
        office.update("aggregates", two, add_host="h1")
    with pytest.raises(Conflict, match="two availability zones"):
        office.update("aggregates", free, zone="z3")
    assert office.get("aggregates", two).hosts == []


def test_a_host_with_instances_keeps_its_zone(office: Office) -> None:
    office.ledger.create(zone="az2")
    office.work()
    key = str(office.create("aggregates", name="fast", zone="ssd").id)
    with pytest.raises(Conflict, match="host h3: it has instances"):
        office.update("aggregates", key, add_host="h3")
    same = str(office.create("aggregates", name="same", zone="az2").id)
    assert office.update("aggregates", same, add_host="h3").hosts == ["h3"]


def test_aggregates_refuse_what_makes_no_sense(office: Office) -> None:
    key = str(office.create("aggregates", name="fast").id)
    office.update("aggregates", key, add_host="h1")
    with pytest.raises(Conflict, match="fast already exists"):
        office.create("aggregates", name="fast")
    with pytest.raises(Conflict, match="already has host"):
        office.update("aggregates", key, add_host="h1")
    with pytest.raises(Conflict, match="it has hosts"):
        office.delete("aggregates", key)
    for missing in ({"add_host": "h9"}, {"remove_host": "h2"}):
        with pytest.raises(NotFound):
            office.update("aggregates", key, **missing)
    for wrong in ("99", "x", "9" * 30):
        with pytest.raises(NotFound):
            office.get("aggregates", wrong)


# --- hosts


def test_a_host_shows_its_resources_claims_and_guests(office: Office) -> None:
    office.ledger.create(zone="az2")
    office.work()
    office.clock.advance(4)
    host = office.get("hosts", "h3")
    assert (host.state, host.zone, host.binary, host.age) == ("up", "az2", "paddock-compute", 4)
    assert (host.total.memory_mb, host.claimed.memory_mb, host.running) == (8192, 512, 1)
    assert host.capabilities == ["live_migration", "move", "pause", "suspend"]
    assert office.get("hosts", host.id) == host
    assert [one.host for one in office.list("hosts", filters={"zone": "az1"})] == ["h1", "h2"]


def test_conductors_are_in_the_list_and_go_down_when_silent(office: Office) -> None:
    presence = Presence(office.ledger.turns, "c1", "c1")
    presence.note()
    office.clock.advance(5)
    presence.note()
    found = office.list("hosts", filters={"binary": "paddock-conductor"})
    assert [(one.host, one.state, one.uptime) for one in found] == [("c1", "up", 5)]
    with pytest.raises(BadRequest, match="is a conductor"):
        office.client.pause_host(office.admin, "c1", None)
    office.clock.advance(60)
    assert office.get("hosts", "c1").state == "down"
    office.delete("hosts", "c1")
    with pytest.raises(NotFound):
        office.get("hosts", "c1")


def test_pauses_are_held_by_each_administrator_and_lifted_together(office: Office) -> None:
    other = office.ledger.user("eve", "admins", "admin")
    office.client.pause_host(office.admin, "h1", "disk")
    office.client.pause_host(office.admin, "h1", "new disk")
    office.clock.advance(1)
    paused = office.client.pause_host(other, "h1", None)
    assert [pause.reason for pause in paused.pauses] == ["new disk", None]
    assert office.ledger.row(Host, "h1").paused == 2
    assert office.client.resume_host(office.admin, "h1").pauses == []
    assert office.ledger.row(Host, "h1").paused == 0
    assert office.client.resume_host(office.admin, "h1").pauses == []


def test_a_drains_pause_is_not_lifted_by_hand(office: Office) -> None:
    office.ledger.add(Pause(host="h1", holder="drain:1", reason="drain", who=None, since=START))
    office.ledger.change(Host, "h1", paused=1)
    office.client.pause_host(office.admin, "h1", "mine")
    left = office.client.resume_host(office.admin, "h1")
    assert [pause.holder for pause in left.pauses] == ["drain:1"]
    assert office.ledger.row(Host, "h1").paused == 1


def test_disabling_has_a_reason_that_ends_with_it(office: Office) -> None:
    closed = office.update("hosts", "h1", disabled=True, disabled_reason="old")
    assert (closed.disabled, closed.disabled_reason) == (True, "old")
    opened = office.update("hosts", "h1", disabled=False)
    assert (opened.disabled, opened.disabled_reason) == (False, None)
    with pytest.raises(BadRequest, match="zone"):
        office.update("hosts", "h1", zone="x")


def test_a_host_that_was_forced_down_reconciles_before_it_is_up(office: Office) -> None:
    assert office.update("hosts", "h1", forced_down=True).state == "down"
    office.work()
    assert office.get("hosts", "h1").state == "down"
    assert office.update("hosts", "h1", forced_down=False).state == "reconciling"
    office.work()
    assert office.get("hosts", "h1").state == "up"


def test_only_a_host_that_is_down_and_empty_can_be_deleted(office: Office) -> None:
    office.ledger.create(zone="az2")
    office.work()
    with pytest.raises(Conflict, match="not down"):
        office.delete("hosts", "h2")
    office.silence("h2", "h3")
    with pytest.raises(Conflict, match="it has instances"):
        office.delete("hosts", "h3")
    office.update("hosts", "h1", forced_down=True)
    with pytest.raises(Conflict, match="its agent runs"):
        office.delete("hosts", "h1")
    office.client.pause_host(office.admin, "h2", None)
    office.delete("hosts", office.get("hosts", "h2").id)
    assert [one.host for one in office.list("hosts")] == ["h1", "h3"]
    assert office.ledger.violations() == []


# --- who may ask


@pytest.mark.parametrize("collection", ["hosts", "aggregates"])
def test_administrators_things_are_theirs(office: Office, collection: str) -> None:
    with pytest.raises(Forbidden):
        office.list(collection, who=office.member)
    with pytest.raises(Forbidden):
        office.client.pause_host(office.member, "h1", None)
    with pytest.raises(Forbidden):
        office.create("flavors", who=office.member, name="x", vcpus=1, memory_mb=1, disk_gb=1)


def test_a_token_that_ended_reads_and_changes_nothing(office: Office) -> None:
    office.ledger.change(User, office.admin.user_id, epoch=2)
    for ask in (
        lambda: office.list("flavors"),
        lambda: office.get("hosts", "h1"),
        lambda: office.client.pause_host(office.admin, "h1", None),
    ):
        with pytest.raises(Unauthorized):
            ask()


def test_anybody_learns_whether_the_database_answers(office: Office) -> None:
    assert office.client.ping(RequestContext())["database"] is True
