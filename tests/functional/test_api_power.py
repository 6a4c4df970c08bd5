"""Power off here, power on in another zone; locks; the other verbs; in JSON and in XML."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import fromstring

import pytest
from falcon.testing import Result

from compute_agent.drivers.fake_control import Behaviour, FakeControl
from paddock.errors import HypervisorError
from tests.fixtures.cloud import HOSTS, Client, Cloud

XML = {"Content-Type": "application/xml", "Accept": "application/xml"}
BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><vm-poweroff>&c;</vm-poweroff>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><vm-poweroff>&b;</vm-poweroff>'


def post_xml(client: Client, server: str, body: str) -> Result:
    return client.post(f"servers/{server}/action", body=body, headers=XML)


def test_a_server_moves_to_another_zone_over_a_power_off(
    member: Client, admin: Client, server: str
) -> None:
    before = admin.show(server)
    assert member.act(server, "vm-poweroff", {}).status_code == 202
    off = member.await_state(server, "powered_off")
    assert (off["status"], off["OS-EXT-STS:power_state"]) == ("SHUTOFF", 10)
    assert off["addresses"] == before["addresses"]
    zone = "az2" if before["OS-EXT-AZ:availability_zone"] == "az1" else "az1"
    assert member.act(server, "vm-poweron", {"availability_zone": zone}).status_code == 202
    on = member.await_state(server, "active")
    assert on["OS-EXT-AZ:availability_zone"] == zone
    assert on["addresses"] == before["addresses"]
    assert admin.show(server)["OS-EXT-SRV-ATTR:host"] != before["OS-EXT-SRV-ATTR:host"]


@pytest.mark.parametrize(
    "body",
    [
        "<vm-poweron><availability_zone>{zone}</availability_zone></vm-poweron>",
        '<vm-poweron availability_zone="{zone}"/>',
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<vm-poweron xmlns="http://docs.openstack.org/compute/api/v1.1">'
        "<availability_zone>{zone}</availability_zone></vm-poweron>",
        "<vm-poweron/>",
    ],
)
def test_the_same_goes_in_xml(member: Client, server: str, body: str) -> None:
    answer = post_xml(member, server, "<vm-poweroff/>")
    assert (answer.status_code, answer.text) == (202, "")
    member.await_state(server, "powered_off")
    assert post_xml(member, server, body.format(zone="az2")).status_code == 202
    found = member.await_state(server, "active")
    if "{zone}" in body:
        assert found["OS-EXT-AZ:availability_zone"] == "az2"


def test_power_verbs_in_the_wrong_state_are_bad_requests(member: Client, server: str) -> None:
    answer = member.act(server, "vm-poweron", {})
    assert answer.status_code == 400
    assert "powered_off" in answer.json["badRequest"]["message"]
    member.act(server, "vm-poweroff", {})
    member.await_state(server, "powered_off")
    assert member.act(server, "vm-poweroff", {}).status_code == 400
    answer = member.act(server, "vm-poweron", {"availability_zone": "nowhere"})
    assert answer.status_code == 400
    assert "nowhere" in answer.json["badRequest"]["message"]
    assert member.show(server)["OS-EXT-STS:vm_state"] == "powered_off"


def test_who_may_not_gets_what_the_power_verbs_say(
    reader: Client, other: Client, server: str
) -> None:
    assert reader.act(server, "vm-poweroff", {}).status_code == 400
    assert other.act(server, "vm-poweroff", {}).status_code == 404


def test_os_start_is_a_power_on_without_a_zone(member: Client, server: str) -> None:
    member.act(server, "vm-poweroff", {})
    member.await_state(server, "powered_off")
    assert member.act(server, "os-start").status_code == 202
    member.await_state(server, "active")


@pytest.mark.parametrize(
    ("there", "state", "back"),
    [("pause", "paused", "unpause"), ("suspend", "suspended", "resume"),
     ("os-stop", "stopped", "os-start")],
)  # fmt: skip
def test_what_goes_one_way_comes_back(
    member: Client, server: str, there: str, state: str, back: str
) -> None:
    answer = member.act(server, there)
    assert (answer.status_code, answer.text) == (202, "")
    member.await_state(server, state)
    conflict = member.act(server, there)
    assert conflict.status_code == 409
    assert conflict.json["conflictingRequest"]["code"] == 409
    assert member.act(server, back).status_code == 202
    member.await_state(server, "active")


def test_refusals_name_the_verb_that_was_sent(member: Client, server: str) -> None:
    member.act(server, "vm-poweroff", {})
    member.await_state(server, "powered_off")
    for kind in ("SOFT", "HARD"):
        answer = member.act(server, "reboot", {"type": kind})
        assert answer.status_code == 409
        assert "Cannot 'reboot' instance" in answer.json["conflictingRequest"]["message"]


@pytest.mark.parametrize("kind", ["SOFT", "HARD"])
def test_a_server_reboots(member: Client, server: str, kind: str) -> None:
    assert member.act(server, "reboot", {"type": kind}).status_code == 202
    member.await_state(server, "active")


def test_a_locked_server_refuses_its_owner_with_the_reason(
    member: Client, admin: Client, server: str
) -> None:
    assert member.act(server, "lock", {"locked_reason": "do not touch"}).status_code == 202
    found = member.show(server)
    assert (found["locked"], found["locked_reason"]) == (True, "do not touch")
    for verb in ("pause", "vm-poweroff", "os-stop", "forceDelete"):
        answer = member.act(server, verb)
        assert answer.status_code == 409
        assert "do not touch" in answer.json["conflictingRequest"]["message"]
    assert member.delete(f"servers/{server}").status_code == 409
    assert admin.act(server, "pause").status_code == 202
    admin.await_state(server, "paused")
    assert member.act(server, "unlock").status_code == 202
    assert member.show(server)["locked"] is False


def test_only_an_administrator_lifts_an_administrators_lock(
    member: Client, admin: Client, server: str
) -> None:
    assert admin.act(server, "lock").status_code == 202
    assert member.act(server, "unlock").status_code == 409
    assert admin.act(server, "unlock").status_code == 202


def test_reset_state_is_an_administrators(member: Client, admin: Client, server: str) -> None:
    assert member.act(server, "os-resetState", {"state": "error"}).status_code == 403
    assert admin.act(server, "os-resetState", {"state": "error"}).status_code == 202
    assert member.show(server)["status"] == "ERROR"
    assert admin.act(server, "os-resetState", {"state": "active"}).status_code == 202
    assert admin.act(server, "os-resetState", {"state": "paused"}).status_code == 400


def test_force_delete_deletes(member: Client, server: str) -> None:
    assert member.act(server, "forceDelete").status_code == 202
    member.await_gone(server)


BAD = [
    "<a",
    "",
    "text",
    "<unknown/>",
    BOMB,
    OUTSIDE,
    "<vm-poweron><zone>a</zone></vm-poweron>",
    "<vm-poweroff>x</vm-poweroff>",
    "<!DOCTYPE a SYSTEM 'http://127.0.0.1:1/x'><vm-poweroff/>",
]


@pytest.mark.parametrize("body", BAD)
def test_bad_xml_is_refused_in_xml(member: Client, server: str, body: str) -> None:
    answer = post_xml(member, server, body)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"].startswith("application/xml")
    root = fromstring(answer.text)
    assert root.tag.endswith("badRequest")
    assert root.get("code") == "400"
    assert "root:" not in answer.text
    assert member.show(server)["OS-EXT-STS:vm_state"] == "active"


def test_other_refusals_come_in_xml_too(member: Client, server: str) -> None:
    answer = post_xml(member, "11111111-2222-3333-4444-555555555555", "<vm-poweroff/>")
    assert answer.status_code == 404
    assert "itemNotFound" in answer.text
    answer = member.post("servers", body="<server/>", headers=XML)
    assert answer.status_code == 415
    assert "badMediaType" in answer.text
    answer = member.get("servers/x", headers={"Accept": "application/xml"})
    assert answer.headers["Content-Type"].startswith("application/xml")


@pytest.mark.parametrize(
    "body",
    [{}, {"pause": None, "unpause": None}, {"unknown": {}}, {"pause": 1}, {"reboot": {}},
     {"reboot": {"type": "GENTLE"}}, {"vm-poweron": {"zone": "az1"}},
     {"lock": {"locked_reason": ""}}, {"vm-poweron": {"availability_zone": "z" * 300}},
     {"vm-poweron": {"availability_zone": ["a"]}},
     {"vm-poweroff": {"force": True}}, [], "pause", None, {"createImage": {"name": "x"}}],
    ids=str,
)  # fmt: skip
def test_a_wrong_action_changes_nothing(member: Client, server: str, body: object) -> None:
    answer = member.post(f"servers/{server}/action", body)
    assert answer.status_code == 400
    assert answer.json["badRequest"]["message"]
    assert member.show(server)["OS-EXT-STS:task_state"] is None


@pytest.mark.parametrize(
    ("raw", "headers", "status"),
    [
        (b"{", {}, 400),
        (b'{"pause": NaN}', {}, 400),
        (b'{"pause": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", {}, 400),
        (b'{"pause": "\xff"}', {}, 400),
        (b'{"lock": {"locked_reason": "a\\u0000b"}}', {}, 400),
        (b'{"pause": ' + b"1" * 200_000 + b"}", {}, 413),
        (b'{"pause": null}', {"Content-Type": "text/plain"}, 415),
        (b'{"pause": null}', {"Content-Type": "application/json; charset=utf-16"}, 415),
        (b'{"pause": null}', {"Content-Encoding": "gzip"}, 415),
    ],
    ids=range(9),
)
def test_a_broken_body_is_refused(
    member: Client, server: str, raw: bytes, headers: dict[str, str], status: int
) -> None:
    sent = {"Content-Type": "application/json"} | headers
    answer = member.post(f"servers/{server}/action", body=raw, headers=sent)
    assert answer.status_code == status
    (fault,) = answer.json.values()
    assert fault["message"].count("\n") == 0
    assert member.show(server)["OS-EXT-STS:task_state"] is None


def test_only_administrators_are_told_what_a_host_says_of_itself(
    cloud: Cloud, admin: Client, member: Client, server: str
) -> None:
    host = admin.show(server)["OS-EXT-SRV-ATTR:host"]
    said = "cannot open /srv/h1/disk at qemu:///system"
    control = FakeControl(cloud.place.state(host) / "fake")
    control.set("pause", Behaviour(fail=said), server)
    done = member.act(server, "pause")
    member.await_state(server, "active")
    path = f"servers/{server}/os-instance-actions/{done.headers['x-openstack-request-id']}"
    theirs, ours = (client.get(path).json["instanceAction"] for client in (member, admin))
    assert (theirs["status"], theirs["reason"]) == ("failed", HypervisorError.default)
    assert said not in str(theirs)
    assert [step["reason"] for step in theirs["steps"]] == [HypervisorError.default]
    assert [step["reason"] for step in ours["steps"]] == [said]
    assert [event["details"] for event in ours["events"]] == [said]


def test_a_faults_details_are_for_administrators(
    cloud: Cloud, admin: Client, member: Client, create: Callable[..., Result]
) -> None:
    said = "cannot open /srv/h1/disk"
    controls = [FakeControl(cloud.place.state(host) / "fake") for host in HOSTS]
    for control in controls:
        control.set("launch", Behaviour(fail=said))
    try:
        key = create(member).json["server"]["id"]
        fault = member.await_state(key, "error")["fault"]
        assert (fault["message"], "details" in fault) == (HypervisorError.default, False)
        assert admin.show(key)["fault"]["details"] == said
    finally:
        for control in controls:
            control.clear()
