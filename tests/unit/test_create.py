"""Creating: as many as there is room for, or a refusal that says what is wrong."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
import sqlalchemy as sa

from conductor import claims
from conductor.db.models import Action, Flavor, Image, Instance, Network, Port, Project
from conductor.placement import FEW
from paddock.actions import Seen
from paddock.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    HypervisorError,
    NoValidHost,
    QuotaExceeded,
)
from paddock.records import Resources
from tests.fixtures.lab import Lab


def test_a_create_ends_with_a_machine_that_runs_and_its_claims(lab: Lab) -> None:
    (ticket,) = lab.ledger.create(metadata={"mark": "x"})
    shown = lab.ledger.show(ticket.instance_id)
    assert (shown.vm_state, shown.task_state, shown.host) == ("building", "spawning", ticket.host)
    assert ticket.host
    order = lab.started(ticket.host)
    assert order.guest.image.file == "guest.img"
    assert order.guest.metadata == {"mark": "x"}
    assert order.guest.generation == order.disk_generation == 1
    assert [port.network_name for port in order.guest.ports] == ["net"]
    lab.agents[ticket.host].do(order)
    shown = lab.ledger.show(ticket.instance_id)
    assert (shown.vm_state, shown.task_state, shown.power_state) == ("active", None, 1)
    assert shown.launched_at
    assert lab.claimed(ticket.host) == (1, 512, 1)


def test_machines_of_one_request_spread_and_are_numbered(lab: Lab) -> None:
    tickets = lab.ledger.create(count=3)
    assert sorted(str(ticket.host) for ticket in tickets) == ["h1", "h2", "h3"]
    shown = [lab.ledger.show(ticket.instance_id) for ticket in tickets]
    assert [one.name for one in shown] == ["vm-1", "vm-2", "vm-3"]
    assert [one.launch_index for one in shown] == [0, 1, 2]


def test_between_least_and_most_it_makes_what_fits(lab: Lab) -> None:
    flavor = lab.ledger.flavor(memory_mb=5000)
    assert len(lab.ledger.create(flavor_id=flavor, count=5, least=2)) == 3


def test_fewer_than_the_least_are_none_at_all(lab: Lab) -> None:
    flavor = lab.ledger.flavor(memory_mb=5000)
    with pytest.raises(NoValidHost, match=r"not enough memory \(3\)"):
        lab.ledger.create(flavor_id=flavor, count=4)
    assert lab.ledger.rows(sa.select(Instance)) == []
    assert [lab.claimed(name) for name in lab.agents] == [(0, 0, 0)] * 3


def test_a_repeated_create_gets_the_same_tickets(lab: Lab) -> None:
    ids = {"action_ids": ["a1", "a2"], "instance_ids": ["i1", "i2"]}
    flavor = lab.ledger.flavor()
    first = lab.ledger.create(count=2, flavor_id=flavor, **{k: [*v] for k, v in ids.items()})
    again = lab.ledger.create(count=2, flavor_id=flavor, **{k: [*v] for k, v in ids.items()})
    assert again == first
    assert len(lab.ledger.rows(sa.select(Instance))) == 2


def test_a_refused_create_is_refused_again(lab: Lab) -> None:
    ids = {"action_ids": ["a1"], "instance_ids": ["i1"]}
    big = lab.ledger.flavor(memory_mb=9999)
    for flavor in (big, lab.ledger.flavor()):
        with pytest.raises(NoValidHost):
            lab.ledger.create(flavor_id=flavor, **{k: [*v] for k, v in ids.items()})


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"zone": "moon"}, "availability_zone"),
        ({"image_id": "none"}, "imageRef"),
        ({"flavor_id": "none"}, "flavorRef"),
        ({"networks": [{"uuid": "none"}]}, "networks"),
        ({"networks": [{"port": "none"}]}, "networks"),
    ],
)
def test_what_does_not_exist_is_named(lab: Lab, values: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest, match=field):
        lab.ledger.create(**values)


def test_a_zone_is_kept(lab: Lab) -> None:
    (ticket,) = lab.ledger.create(zone="az2")
    assert ticket.host == "h3"
    assert lab.ledger.show(ticket.instance_id).zone == "az2"


def test_only_administrators_choose_the_host(lab: Lab) -> None:
    with pytest.raises(Forbidden):
        lab.ledger.create(host="h2")
    (ticket,) = lab.ledger.create(lab.ledger.admin, host="h2")
    assert ticket.host == "h2"


@pytest.mark.parametrize("need", [{"min_disk": 2}, {"min_ram": 513}])
def test_a_flavor_must_fit_the_image(lab: Lab, need: dict[str, int]) -> None:
    lab.ledger.change(Image, lab.ledger.image.id, **need)
    with pytest.raises(BadRequest, match="flavorRef"):
        lab.ledger.create()


def test_a_kernel_is_no_disk_to_boot_from(lab: Lab) -> None:
    lab.ledger.change(Image, lab.ledger.image.id, container_format="aki")
    with pytest.raises(BadRequest, match="is a kernel or ramdisk, not a disk"):
        lab.ledger.create()


def test_a_private_flavor_or_image_is_not_for_all(lab: Lab) -> None:
    flavor = lab.ledger.flavor()
    lab.ledger.change(Flavor, flavor, is_public=False)
    with pytest.raises(BadRequest, match="flavorRef"):
        lab.ledger.create(flavor_id=flavor)
    lab.ledger.change(Image, lab.ledger.image.id, visibility="private", owner="other")
    with pytest.raises(BadRequest, match="imageRef"):
        lab.ledger.create()


def test_a_paused_disabled_or_dead_host_gets_nothing_new(lab: Lab) -> None:
    lab.ledger.pause("h1", "why")
    lab.ledger.change(type(lab.host("h2")), "h2", disabled=True)
    lab.kill("h3")
    with pytest.raises(NoValidHost, match=r"disabled \(1\); down \(1\); paused \(1\)"):
        lab.ledger.create(lab.ledger.admin)


def test_the_quota_bounds_what_a_project_has(lab: Lab) -> None:
    lab.ledger.conf.set_override("quota_cores", 3, group="conductor")
    flavor = lab.ledger.flavor(vcpus=2)
    with pytest.raises(QuotaExceeded, match="cores"):
        lab.ledger.create(flavor_id=flavor, count=2)
    (ticket,) = lab.ledger.create(flavor_id=flavor, count=2, least=1)
    with pytest.raises(QuotaExceeded):
        lab.ledger.create(flavor_id=flavor)
    lab.run()
    lab.ledger.do(ticket.instance_id, "delete")
    lab.run()
    assert lab.ledger.row(Project, lab.ledger.member.project_id).used_cores == 0
    lab.ledger.create(flavor_id=flavor)


def test_addresses_are_unique_and_in_the_networks_range(lab: Lab) -> None:
    lab.ledger.change(Network, lab.ledger.network.id, first="10.9.0.10", last="10.9.0.12")
    lab.ledger.create(count=3)
    ports = lab.ledger.rows(sa.select(Port))
    assert sorted(port.address for port in ports) == ["10.9.0.10", "10.9.0.11", "10.9.0.12"]
    assert len({port.mac for port in ports}) == 3
    with pytest.raises(Exception, match="no free address"):
        lab.ledger.create()


def test_an_address_can_be_asked_for_once(lab: Lab) -> None:
    networks = [{"uuid": lab.ledger.network.id, "fixed_ip": "10.9.0.77"}]
    (ticket,) = lab.ledger.create(networks=networks)
    (port,) = lab.ledger.show(ticket.instance_id).ports
    assert port.address == "10.9.0.77"
    with pytest.raises(Exception, match=r"10\.9\.0\.77 is in use"):
        lab.ledger.create(networks=networks)
    with pytest.raises(BadRequest, match="max_count"):
        lab.ledger.create(networks=networks, count=2)


@pytest.mark.parametrize(
    "address", ["1.2.3.4", "fd00::1", "10.9.0.0", "10.9.0.1", "10.9.255.255", "10.9.0.9", "x"]
)
def test_no_address_is_given_that_is_not_for_guests(lab: Lab, address: str) -> None:
    with pytest.raises(BadRequest, match="fixed_ip"):
        lab.ledger.create(networks=[{"uuid": lab.ledger.network.id, "fixed_ip": address}])


def test_an_existing_port_is_attached(lab: Lab) -> None:
    port = Port(id="p1", network_id=lab.ledger.network.id, mac="fa:16:3e:0:0:1", address="10.9.0.9")
    lab.ledger.add(port)
    (ticket,) = lab.ledger.create(networks=[{"port": "p1"}])
    assert [one.id for one in lab.ledger.show(ticket.instance_id).ports] == ["p1"]
    with pytest.raises(BadRequest, match="in use"):
        lab.ledger.create(networks=[{"port": "p1"}])


def test_none_means_no_port_and_auto_prefers_the_projects_own_network(lab: Lab) -> None:
    (ticket,) = lab.ledger.create(networks="none")
    assert lab.ledger.show(ticket.instance_id).ports == []
    lab.ledger.add(
        Network(
            id="n2", name="own", project_id=lab.ledger.member.project_id, cidr="fd00::/64",
            first="fd00::10", last="fd00::20",
        )
    )  # fmt: skip
    (ticket,) = lab.ledger.create(networks="auto")
    assert ipaddress.ip_address(lab.ledger.show(ticket.instance_id).ports[0].address).version == 6


def test_a_create_that_fails_leaves_an_error_without_claims(lab: Lab) -> None:
    (ticket,) = lab.ledger.create()
    assert ticket.host
    order = lab.started(ticket.host)
    lab.agents[ticket.host].finish(order, HypervisorError("no kernel"), Seen.GONE)
    shown = lab.ledger.show(ticket.instance_id)
    assert (shown.vm_state, shown.host) == ("error", None)
    assert shown.fault
    assert shown.fault["message"] == HypervisorError.default
    assert shown.fault["details"] == "no kernel"
    assert lab.claims(ticket.instance_id) == set()
    lab.ledger.do(ticket.instance_id, "delete")
    assert lab.ledger.instance(ticket.instance_id).deleted


def test_the_disk_that_a_former_attempt_made_goes_when_the_create_fails(lab: Lab) -> None:
    (ticket,) = lab.ledger.create(lab.ledger.admin, host="h1")
    order = lab.started("h1")
    lab.world.machines["h1"].disks[order.guest.id] = {1: 0}
    agent = lab.agents["h1"] = lab.boot("h1")
    (step,) = agent.beat().steps
    assert agent.conductor.hand_back(agent.ref(step), step.epoch)
    agent.finish(lab.started("h1"), HypervisorError("no room"), Seen.GONE)
    lab.run()
    assert lab.ledger.show(ticket.instance_id).vm_state == "error"
    assert lab.world.machines["h1"].found() == []
    assert lab.left() == set()


def test_a_host_that_leaves_its_zone_meanwhile_is_not_taken_for_it(lab: Lab) -> None:
    instance = lab.ledger.instance(lab.off("h1"))

    def take(zone: str) -> bool:
        return lab.ledger.turns.run(
            lambda turn: claims.take(turn, instance, "h3", (claims.DISK,), "a", zone)
        )

    assert not take("az1")
    assert lab.claimed("h3") == (0, 0, 0)


def test_a_long_name_has_room_for_its_number(lab: Lab) -> None:
    tickets = lab.ledger.create(name="x" * 255, count=2)
    names = [lab.ledger.show(ticket.instance_id).name for ticket in tickets]
    assert names == ["x" * 253 + "-1", "x" * 253 + "-2"]


def test_a_key_whose_answer_was_forgotten_makes_no_second_server(lab: Lab) -> None:
    ids = {"action_ids": ["a1"], "instance_ids": ["i1"]}
    lab.ledger.create(**{name: [*value] for name, value in ids.items()})
    lab.run()
    lab.ledger.turns.run(lambda turn: turn.drop(Action, Action.id == "a1"))
    with pytest.raises(Conflict, match="Idempotency-Key"):
        lab.ledger.create(**{name: [*value] for name, value in ids.items()})


def test_many_at_once_are_spread_by_what_is_left(lab: Lab) -> None:
    tickets = lab.ledger.create(count=6)
    assert sorted(str(ticket.host) for ticket in tickets) == ["h1", "h1", "h2", "h2", "h3", "h3"]


def test_a_host_is_found_behind_many_with_more_memory_that_cannot(lab: Lab) -> None:
    for number in range(FEW):
        roomy = Resources(vcpus=0, memory_mb=1 << 20, disk_gb=100)
        lab.agents[f"r{number}"] = lab.boot(f"r{number}", resources=roomy)
    flavor = lab.ledger.flavor(vcpus=8, memory_mb=6000)
    hosts = {str(ticket.host) for ticket in lab.ledger.create(flavor_id=flavor, count=3)}
    assert hosts == {"h1", "h2", "h3"}
    with pytest.raises(NoValidHost, match=rf"memory \(3\); not enough vCPUs \({FEW}\)"):
        lab.ledger.create(flavor_id=flavor)
