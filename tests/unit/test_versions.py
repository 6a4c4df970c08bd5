"""Who speaks which version: what is noted of conductors and agents, and who is refused."""

from __future__ import annotations

import msgspec
import pytest

from conductor import hosts
from conductor.presence import Presence
from paddock.clients import CONTRACT
from paddock.errors import Conflict, ServiceUnavailable
from paddock.records import Hello
from paddock.versions import Contract, is_foreign, lowest
from tests.fixtures.lab import Lab

TABLE = Contract({"1.0": ["run"], "1.9": ["run.priority"], "1.10": ["stop"], "2.0": ["fly"]})


def test_versions_compare_by_their_numbers() -> None:
    assert lowest(["1.10", "1.9", "2.0"]) == "1.9"
    assert lowest([]) == "1.0"
    assert TABLE.version == "2.0"
    assert is_foreign("2.0", "1.10")
    assert not is_foreign("1.0", "1.10")


def test_a_method_is_sent_with_the_version_that_it_needs() -> None:
    assert TABLE.fit("run", {"step": 1}, "1.9") == ("1.0", {"step": 1})
    assert TABLE.fit("run", {"step": 1, "priority": 2}, "1.10") == (
        "1.9", {"step": 1, "priority": 2}
    )  # fmt: skip
    assert TABLE.fit("run", {"step": None, "priority": None}, "1.0") == ("1.0", {"step": None})
    assert TABLE.fit("stop", {}, "1.11") == ("1.10", {})


@pytest.mark.parametrize(
    ("method", "args", "peer", "advice"),
    [
        ("stop", {}, "1.9", "upgrade"),
        ("run", {"priority": 1}, "1.8", "upgrade"),
        ("fly", {}, "1.10", "install one"),
    ],
)
def test_what_a_peer_is_too_old_for_is_refused_with_what_to_do(
    method: str, args: dict[str, int], peer: str, advice: str
) -> None:
    with pytest.raises(ServiceUnavailable, match=f"has {peer}: .*{advice}"):
        TABLE.fit(method, args, peer)


def presence(lab: Lab, name: str, version: str) -> Presence:
    made = Presence(lab.ledger.turns, name, name, version)
    made.note()
    return made


def test_conductors_serve_what_the_oldest_living_one_does(lab: Lab) -> None:
    new = presence(lab, "c1", "1.10")
    assert new.lowest() == "1.10"
    old = presence(lab, "c2", "1.9")
    new.note()
    assert (new.lowest(), old.lowest()) == ("1.9", "1.9")
    lab.clock.advance(lab.ledger.conf.conductor.dead_after + 1)
    new.note()
    assert new.lowest() == "1.10"


def test_a_conductor_of_another_major_version_is_refused_until_the_others_are_gone(
    lab: Lab,
) -> None:
    presence(lab, "c1", "1.4")
    other = Presence(lab.ledger.turns, "c2", "c2", "2.0")
    with pytest.raises(Conflict, match=r"on host c1 has RPC version 1\.4.*stop all"):
        other.refuse_strangers()
    Presence(lab.ledger.turns, "c1", "c1", "2.0").refuse_strangers()  # it takes its own place
    lab.clock.advance(lab.ledger.conf.conductor.dead_after + 1)
    other.refuse_strangers()


def test_an_agent_of_another_major_version_is_refused_and_shown(lab: Lab) -> None:
    agent = lab.agents["h1"]
    foreign = msgspec.structs.replace(agent.facts, rpc_version="2.0", version="9")
    hello = Hello(
        host="h1", epoch=lab.ledger.new_id(), replaces=agent.epoch, machine_id="id-h1",
        zone="az1", facts=foreign,
    )  # fmt: skip
    with pytest.raises(Conflict, match=r"h1 has RPC version 2\.0.*install on that host"):
        lab.ledger.agents.hello(hello)
    shown = lab.ledger.turns.read(lambda turn: hosts.get(turn, "h1"))
    assert (shown.rpc_version, shown.version) == ("2.0", "9")
    agent.beat()  # the last process still speaks for the host
    shown = lab.ledger.turns.read(lambda turn: hosts.get(turn, "h1"))
    assert shown.rpc_version == "1.0"


def test_tickets_and_hints_say_what_the_hosts_agent_told(lab: Lab) -> None:
    agent = lab.agents["h1"]
    agent.facts = msgspec.structs.replace(agent.facts, rpc_version=CONTRACT.version)
    agent.beat()
    instance_id = lab.active("h1")
    assert lab.ledger.do(instance_id, "os-stop").rpc_version == CONTRACT.version
    step = lab.agents["h1"].beat().steps[0]
    order = lab.started("h1")
    assert agent.conductor.hand_back(agent.ref(order), agent.epoch)
    hint = lab.ledger.hints[-1]
    assert (hint.step_id, hint.rpc_version) == (step.step_id, CONTRACT.version)
