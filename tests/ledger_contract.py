"""What the ledger promises on every database, also when many ask at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from conductor import aggregates
from conductor.db.models import Aggregate, AggregateHost, Host, Instance, Project
from conductor.judgement import Proof
from conductor.pings import Pinger
from conductor.reaper import Reaper
from paddock.errors import NoValidHost, PaddockError, QuotaExceeded
from paddock.records import Listing, Resources, Ticket
from tests.fixtures.ledger import Ledger
from tests.fixtures.model_agent import Agent, Machine, World, run_all

CALLERS = 16
CREATES = 50


def at_once(count: int, fn: Callable[[int], Any]) -> list[Any]:
    """What ``fn`` gave or raised, called so often by many threads."""

    def call(number: int) -> Any:
        try:
            return fn(number)
        except PaddockError as error:
            return error

    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(call, range(count)))


class LedgerContract:
    """Subclasses give ``url``, of an empty database."""

    @pytest.fixture
    def ledger(self, url: str) -> Iterator[Ledger]:
        ledger = Ledger(url)
        yield ledger
        assert ledger.violations() == []
        ledger.close()

    @pytest.fixture
    def agents(self, ledger: Ledger) -> dict[str, Agent]:
        """Three hosts with room for ten small machines each."""
        world, size = World(), Resources(vcpus=10, memory_mb=5120, disk_gb=100)
        agents = {
            name: Agent(ledger.agents, world, Machine(name, zone), ledger.new_id(), size)
            for name, zone in (("h1", "az1"), ("h2", "az1"), ("h3", "az2"))
        }
        for agent in agents.values():
            agent.hello()
            agent.run()
        return agents

    @pytest.mark.usefixtures("agents")
    def test_creates_at_once_never_take_more_than_there_is(self, ledger: Ledger) -> None:
        flavor = ledger.flavor(memory_mb=512)
        answers = at_once(CREATES, lambda _: ledger.create(flavor_id=flavor))
        refused = [answer for answer in answers if not isinstance(answer, list)]
        assert {type(answer) for answer in refused} == {NoValidHost}
        full = "No valid host was found: not enough vCPUs (3)."
        assert {answer.message for answer in refused} <= {full, full.replace("vCPUs", "memory")}
        assert len(refused) == CREATES - 30
        hosts = ledger.rows(sa.select(Host))
        assert [host.claimed_memory_mb for host in hosts] == [5120, 5120, 5120]
        addresses = [ledger.show(one[0].instance_id).ports for one in answers if one not in refused]
        assert len({ports[0].address for ports in addresses}) == 30

    @pytest.mark.usefixtures("agents")
    def test_creates_at_once_never_exceed_the_quota(self, ledger: Ledger) -> None:
        ledger.conf.set_override("quota_instances", 7, group="conductor")
        flavor = ledger.flavor(memory_mb=64)
        answers = at_once(20, lambda _: ledger.create(flavor_id=flavor))
        kinds = [type(answer) for answer in answers]
        assert (kinds.count(list), kinds.count(QuotaExceeded)) == (7, 13)
        assert ledger.row(Project, ledger.member.project_id).used_instances == 7

    def test_hosts_and_aggregates_that_change_at_once_agree(
        self, ledger: Ledger, agents: dict[str, Agent]
    ) -> None:
        def change(fn: Callable[..., Any], *arguments: Any) -> Any:
            return ledger.turns.run(lambda turn: turn.attempt(lambda: fn(turn, *arguments)))

        def restart() -> None:
            agent = Agent(ledger.agents, agents["h1"].world, agents["h1"].machine, ledger.new_id())
            agent.hello()

        for number in range(8):
            named = {"name": f"a{number}", "zone": f"az{number}"}
            other = {"name": f"b{number}", "zone": "az1" if number % 2 else "az9"}
            keys = [str(change(aggregates.create, fields).id) for fields in (named, other)]
            changes = [
                partial(change, aggregates.update, keys[0], {"add_host": "h1"}),
                partial(change, aggregates.update, keys[1], {"add_host": "h1"}),
                partial(change, aggregates.delete, keys[0]),
                restart,
            ]
            at_once(len(changes), lambda n, changes=changes: changes[n]())
            groups = {row.id: row.zone for row in ledger.rows(sa.select(Aggregate))}
            members = ledger.rows(sa.select(AggregateHost))
            assert {member.aggregate_id for member in members} <= set(groups)
            zones = {groups[member.aggregate_id] for member in members} or {"az1"}
            assert {ledger.row(Host, "h1").zone} == zones
            for member in members:
                change(aggregates.update, str(member.aggregate_id), {"remove_host": "h1"})
            assert ledger.row(Host, "h1").zone == "az1"

    def test_of_actions_at_once_one_is_accepted(
        self, ledger: Ledger, agents: dict[str, Agent]
    ) -> None:
        (ticket,) = ledger.create()
        run_all(agents)
        verbs = ("pause", "suspend", "vm-poweroff", "reboot-hard")
        answers = at_once(12, lambda n: ledger.ask(ticket.instance_id, verbs[n % len(verbs)]))
        assert sum(isinstance(answer, Ticket) for answer in answers) == 1
        run_all(agents)
        assert ledger.show(ticket.instance_id).task_state is None

    def test_the_same_request_at_once_is_one(
        self, ledger: Ledger, agents: dict[str, Agent]
    ) -> None:
        ids = {"action_ids": ["a"], "instance_ids": ["i"]}
        flavor = ledger.flavor()
        answers = at_once(
            8, lambda _: ledger.create(flavor_id=flavor, **{k: [*v] for k, v in ids.items()})
        )
        assert all(answer == answers[0] for answer in answers)
        run_all(agents)
        asked = at_once(8, lambda _: ledger.ask("i", "pause", action_id="b"))
        assert {answer.action_id for answer in asked} == {"b"}

    def test_metadata_edited_at_once_keeps_every_edit(
        self, ledger: Ledger, agents: dict[str, Agent]
    ) -> None:
        (ticket,) = ledger.create(metadata={f"old{n}": "" for n in range(12)})
        run_all(agents)

        def edit(number: int) -> Any:
            change = {"unset_metadata": f"old{number}"}
            if number % 2:
                change = {"set_metadata": {f"new{number}": ""}}
            return ledger.api.update_instance(ledger.member, ticket.instance_id, change)

        at_once(12, edit)
        assert set(ledger.show(ticket.instance_id).metadata) == {
            f"{kind}{number}" for number in range(1, 12, 2) for kind in ("old", "new")
        }

    def test_a_machines_whole_life(self, ledger: Ledger, agents: dict[str, Agent]) -> None:
        (ticket,) = ledger.create(zone="az1", metadata={"mark": "x"})
        vm = ticket.instance_id
        for verb, params in (
            ("pause", {}), ("unpause", {}), ("suspend", {}), ("resume", {}), ("os-stop", {}),
            ("os-start", {}), ("lock", {"locked_reason": "why"}), ("unlock", {}),
            ("reboot-soft", {}), ("vm-poweroff", {}), ("vm-poweron", {"availability_zone": "az2"}),
        ):  # fmt: skip
            run_all(agents)
            ledger.do(vm, verb, **params)
            assert ledger.violations() == []
        run_all(agents)
        shown = ledger.show(vm)
        assert (shown.vm_state, shown.host, shown.zone) == ("active", "h3", "az2")
        assert len(ledger.api.list_actions(ledger.member, vm, Listing())) == 12
        ledger.do(vm, "delete")
        run_all(agents)
        assert ledger.instance(vm).deleted
        hosts = ledger.rows(sa.select(Host))
        assert {(h.claimed_vcpus, h.claimed_memory_mb, h.claimed_disk_gb) for h in hosts} == {
            (0, 0, 0)
        }

    def test_pages_filters_and_order(self, ledger: Ledger, agents: dict[str, Agent]) -> None:
        names = ["web_1", "web-2", "db%", "Mail"]
        ids = {name: ledger.create(name=name)[0].instance_id for name in names}
        run_all(agents)
        ledger.do(ids["db%"], "pause")
        run_all(agents)

        def listed(**values: Any) -> list[str]:
            page = ledger.api.list_instances(ledger.member, Listing(**values))
            return [one.name for one in page]

        assert set(listed()) == set(names)
        assert set(listed(filters={"name": "^web"})) == {"web_1", "web-2"}
        assert listed(filters={"name": "^Ma"}) == ["Mail"]
        assert listed(filters={"name": "mail"}) == []
        assert listed(filters={"name": "b%"}) == ["db%"]
        assert listed(filters={"name": "web_"}) == ["web_1"]
        assert listed(filters={"status": "PAUSED"}) == ["db%"]
        assert listed(filters={"status": "nonsense"}) == []
        assert listed(filters={"id": [ids["Mail"], ids["db%"]]}, sort=[("name", "desc")]) == [
            "db%", "Mail",
        ]  # fmt: skip
        assert listed(filters={"flavor": "none"}) == []
        ports = ledger.show(ids["Mail"]).ports
        assert listed(filters={"ip": f"^{ports[0].address}$"}) == ["Mail"]
        order = [("vm_state", "desc"), ("name", "asc")]
        full = listed(sort=order)
        assert full[0] == "db%"
        paged: list[str] = []
        while page := listed(sort=order, limit=1, marker=ids[paged[-1]] if paged else None):
            paged += page
        assert paged == full

    def test_a_reaper_finds_nothing_to_do_in_peace(
        self, ledger: Ledger, agents: dict[str, Agent]
    ) -> None:
        ledger.create()
        run_all(agents)
        sent: list[str] = []
        pinger = Pinger(ledger.turns, lambda host, nonce: sent.append(host))
        Reaper(ledger.turns, Proof(lambda: True, lambda: 0.0, 0.0), pinger).round()
        assert sent == ["h1", "h2", "h3"]
        assert {one.vm_state for one in ledger.rows(sa.select(Instance))} == {"active"}
