"""paddock-manage check: hosts say what they have, and what differs from the ledger is named."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from conductor.checkup import Checkup
from conductor.db.models import Action, Host, Leftover, Project, Step
from paddock.actions import Seen
from paddock.clients import wire
from paddock.errors import GuestHung, HypervisorError
from paddock.inventory import ORDER, question_id
from paddock.records import Found
from tests.fixtures.lab import Lab
from tests.fixtures.model_agent import Domain

STRANGER = "5f0c1a52-0000-4000-8000-000000000001"


class Site:
    """A lab whose agents answer what they are asked while the check waits."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.silent: set[str] = set()
        self.broken: set[str] = set()
        self.asked = 0

    def checkup(self, wait: float | None = None) -> Checkup:
        """One that waits long only for hosts that answer."""
        ledger, usual = self.lab.ledger, 0.2 if self.silent else 10.0
        return Checkup(ledger.database, ledger.turns, usual if wait is None else wait, self.answer)

    def answer(self, _seconds: float) -> None:
        for name, agent in self.lab.agents.items():
            if name not in self.silent and ORDER in agent.beat().orders:
                self.asked += 1
                said = self.told(name)
                agent.conductor.answer(name, agent.epoch, question_id(name), said)

    def told(self, name: str) -> dict[str, Any]:
        if name in self.broken:
            return {"error": GuestHung("The hypervisor hangs.").to_wire()}
        return {"ok": wire(self.found(name))}

    def found(self, name: str) -> list[Found]:
        return self.lab.world.machines[name].found()


@pytest.fixture
def site(lab: Lab) -> Site:
    return Site(lab)


def test_a_cloud_that_is_well_is_asked_once(site: Site) -> None:
    site.lab.active("h1")
    site.lab.off("h2")
    site.lab.ledger.do(site.lab.active("h1"), "pause")
    site.lab.run()
    assert site.checkup().look() == []
    assert site.asked == 3


def test_what_no_reaper_ends_is_named_a_minute_after_its_deadline(site: Site) -> None:
    lab = site.lab
    pause = lab.ledger.do(lab.active("h1"), "pause")
    deadline = lab.ledger.row(Step, str(pause.step_id)).deadline
    lab.clock.advance((deadline - lab.clock.now).total_seconds() + 59)
    assert site.checkup(wait=0).look() == []
    lab.clock.advance(2)
    (said,) = site.checkup(wait=0).look()
    assert said.startswith(f"step {pause.step_id} of action {pause.action_id} is past its deadline")


def test_a_failure_without_a_reason_is_named(site: Site) -> None:
    lab = site.lab
    pause = lab.ledger.do(lab.active("h1"), "pause")
    lab.agents["h1"].finish(lab.started("h1"), HypervisorError("it broke"), Seen.RUNNING)
    assert site.checkup(wait=0).look() == []
    lab.ledger.change(Action, pause.action_id, reason=None)
    (said,) = site.checkup(wait=0).look()
    assert said == f"action {pause.action_id}, a pause, has failed without a reason"
    lab.ledger.change(Action, pause.action_id, reason="it broke")


def test_what_hosts_have_too_much_or_too_little_is_named(site: Site) -> None:
    lab = site.lab
    vm, deleted, lost = lab.active("h1"), lab.active("h1"), lab.active("h2")
    lab.ledger.do(deleted, "delete")
    lab.run()
    machines = lab.world.machines
    machines["h2"].domains[vm] = Domain(1, Seen.RUNNING, "x")
    machines["h3"].disks[vm] = {7: 0}
    machines["h3"].disks[deleted] = {1: 0}
    machines["h1"].domains[STRANGER] = Domain(1, Seen.RUNNING, "x")
    del machines["h2"].domains[lost]
    machines["h2"].disks[lost].clear()
    assert site.checkup().look() == sorted([
        f"host h2 has a guest of instance {vm}, which is on h1",
        f"host h3 has disk 7 of instance {vm}, which is nobody's",
        f"host h3 has a disk of instance {deleted}, which is deleted",
        f"host h1 has a guest of instance {STRANGER}, which nobody knows",
        f"instance {lost} is active, but gone on host h2",
        f"the disk of instance {lost} is not on host h2",
    ])  # fmt: skip


def test_hosts_that_do_not_answer_are_named(site: Site) -> None:
    site.lab.active("h1")
    site.silent, site.broken = {"h1"}, {"h2"}
    assert site.checkup().look() == [
        "host h1 did not answer within 0.2 s",
        "host h2 cannot say what it has: The hypervisor hangs.",
    ]


def test_what_is_worked_on_or_known_to_be_left_is_no_violation(site: Site) -> None:
    lab = site.lab
    busy = lab.active("h1")
    lab.ledger.do(busy, "pause")
    lab.world.machines["h1"].domains[busy].seen = Seen.PAUSED
    gone = lab.active("h2")
    lab.ledger.do(gone, "delete")
    lab.run("h2")
    lab.world.machines["h2"].domains[gone] = Domain(1, Seen.RUNNING, "x")
    left = {"host": "h2", "kind": "instance", "instance_id": gone, "generation": 2}
    lab.ledger.add(Leftover(id=lab.ledger.new_id(), created_at=lab.clock.now, **left))
    assert site.checkup().look() == []


def test_what_was_so_only_for_a_moment_is_no_violation(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = site.lab.active("h1")
    found = site.found

    def changing(name: str) -> list[Found]:
        first = site.asked <= len(site.lab.agents)
        return [replace(one, seen=Seen.PAUSED) if first else one for one in found(name)]

    monkeypatch.setattr(site, "found", changing)
    assert site.checkup().look() == []
    assert site.asked == 2 * len(site.lab.agents)
    assert site.lab.ledger.show(vm).vm_state == "active"


def test_repair_counts_anew_and_lets_the_hosts_that_differ_reconcile(site: Site) -> None:
    lab = site.lab
    vm = lab.active("h1")
    project = lab.ledger.member.project_id
    lab.ledger.change(Host, "h2", claimed_vcpus=5)
    lab.ledger.change(Project, project, used_cores=9)
    lab.world.machines["h3"].disks[vm] = {7: 0}
    checkup = site.checkup()
    assert len(checkup.look()) == 3
    before = lab.ledger.show(vm)
    assert checkup.repair() == [
        "2 hosts and projects were counted anew.",
        "Host h3 was ordered to reconcile.",
    ]
    assert lab.ledger.violations() == []
    assert [name for name in lab.agents if lab.host(name).reconcile] == ["h3"]
    assert lab.ledger.show(vm) == before
    assert lab.world.machines["h3"].disks[vm] == {7: 0}


def test_without_waiting_only_the_ledger_is_asked(site: Site) -> None:
    site.lab.ledger.change(Host, "h2", claimed_vcpus=5)
    checkup = site.checkup(wait=0)
    [said] = checkup.look()
    assert said.startswith("host h2 counts 5")
    assert site.asked == 0
    checkup.repair()
