"""Draining hosts: what is planned, what moves, what stays and why, and the way back."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from conductor import drains, retention
from conductor.db.drains import Drain
from conductor.db.drains import DrainMachine as DrainRow
from conductor.db.models import Action, Host, Step
from conductor.drainer import BATCH, Drainer
from paddock.actions import Seen
from paddock.errors import BadRequest, Conflict, HypervisorError, NotFound
from paddock.records import DrainMachine, DrainRecord, Listing
from tests.fixtures.lab import Lab

INTERVAL = 1.0
DAY = datetime.timedelta(days=1)


class Drains:
    """Asks for drains and lets a conductor work on them."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._drainer = Drainer(lab.ledger.turns, INTERVAL)

    def create(self, host: str = "h1", **fields: Any) -> DrainRecord:
        wanted = {"host": host, **fields}
        asks = self.lab.ledger.admin
        return self._run(lambda turn: drains.create(turn, asks, wanted))

    def plan(self, host: str = "h1", **fields: Any) -> DrainRecord:
        return self.create(host, dry_run=True, **fields)

    def steer(self, drain: DrainRecord, verb: str, **params: Any) -> DrainRecord:
        return self._run(lambda turn: drains.steer(turn, str(drain.id), verb, params))

    def show(self, drain: DrainRecord) -> DrainRecord:
        return self.lab.ledger.turns.read(lambda turn: drains.get(turn, str(drain.id)))

    def round(self) -> None:
        """A round of a conductor, once the last one is over."""
        self.lab.clock.advance(INTERVAL)
        self._drainer.round()

    def work(self, drain: DrainRecord, *hosts: str) -> DrainRecord:
        """Rounds, and work on all hosts or these, until the drain has ended."""
        for _ in range(100):
            if self.show(drain).finished_at is not None:
                return self.show(drain)
            self.round()
            self.lab.run(*hosts)
            if self.lab.clock.now.second % 3 == 0:
                self.lab.pass_time(3)
        raise AssertionError(f"it does not end: {self.show(drain)}")

    def _run(self, fn: Any) -> DrainRecord:
        run = self.lab.ledger.turns.run
        answer: DrainRecord = run(lambda turn: turn.attempt(lambda: fn(turn)))
        return answer


@pytest.fixture
def ops(lab: Lab) -> Drains:
    return Drains(lab)


def machine(drain: DrainRecord, vm: str) -> DrainMachine:
    (found,) = [one for one in drain.machines if one.id == vm]
    return found


def stopped(lab: Lab, host: str = "h1") -> str:
    vm = lab.active(host)
    lab.ledger.do(vm, "os-stop")
    lab.run()
    return vm


def is_open(lab: Lab, host: str = "h1") -> bool:
    return lab.host(host).paused == 0


def test_a_dry_run_says_what_would_happen_and_changes_nothing(lab: Lab, ops: Drains) -> None:
    running, still, suspended = lab.active("h1"), stopped(lab), lab.active("h1")
    lab.ledger.do(suspended, "suspend")
    lab.run()
    drain = ops.plan()
    assert (drain.id, drain.status, drain.notes) == (None, "planned", [])
    assert [(machine(drain, vm).how, machine(drain, vm).target) for vm in (running, still)] == [
        ("cold", "h2"), ("off", "h2"),
    ]  # fmt: skip
    left = machine(drain, suspended)
    assert (left.how, left.target) == ("leave", None)
    assert left.reason == "it is suspended, and its memory would be lost"
    assert is_open(lab)
    assert lab.ledger.rows(sa.select(Drain)) == []


def test_a_plan_says_how_long_it_is_likely_to_take(lab: Lab, ops: Drains) -> None:
    running, still, suspended = lab.active("h1"), stopped(lab), lab.active("h1")
    lab.ledger.do(suspended, "suspend")
    lab.run()
    plan = ops.plan(max_parallel=1)
    times = [machine(plan, vm).estimate or 0.0 for vm in (running, still)]
    assert times[0] > times[1] > 0
    assert plan.estimate == pytest.approx(sum(times), abs=0.2)
    assert machine(plan, suspended).estimate is None


def test_what_a_drain_has_moved_says_how_long_the_rest_takes(lab: Lab, ops: Drains) -> None:
    vms = [lab.active("h1") for _ in range(4)]
    drain = ops.create(max_parallel=1)
    before = ops.show(drain).estimate
    while ops.show(drain).counts.get("moved", 0) < 2:
        ops.round()
        lab.pass_time(60)
        lab.run()
    shown = ops.show(drain)
    took = [machine(shown, vm).seconds or 0.0 for vm in vms if machine(shown, vm).verdict]
    assert min(took) > 60
    left = [one.estimate or 0.0 for one in shown.machines if one.status == "planned"]
    assert left
    assert all(min(took) <= one <= max(took) + 1 for one in left)
    assert (shown.estimate or 0.0) > (before or 0.0)


def test_a_move_under_way_is_measured_by_its_bytes(lab: Lab, ops: Drains) -> None:
    vm = stopped(lab)
    drain = ops.create()
    ops.round()
    lab.run("h1")
    (step,) = lab.waiting("h2")
    lab.agents["h2"].start(step)
    lab.clock.advance(30)
    lab.ledger.change(Step, step.step_id, done=25, total=100)
    shown = machine(ops.show(drain), vm)
    assert shown.progress == 25
    assert shown.estimate == pytest.approx(90, rel=0.1)
    assert ops.show(drain).estimate == shown.estimate


def test_a_drain_that_has_ended_takes_no_more_time(lab: Lab, ops: Drains) -> None:
    vm = lab.active("h1")
    done = ops.work(ops.create())
    assert (done.estimate, machine(done, vm).estimate) == (None, None)


def test_all_machines_leave_the_host_and_run_if_they_ran(lab: Lab, ops: Drains) -> None:
    running, still, off = lab.active("h1"), stopped(lab), lab.off("h1")
    drain = ops.create(reason="a disk fails")
    assert (drain.status, drain.counts) == ("running", {"planned": 3})
    assert not is_open(lab)
    done = ops.work(drain)
    assert (done.status, done.counts) == ("completed", {"moved": 3})
    shown = [lab.ledger.show(vm) for vm in (running, still, off)]
    assert [one.vm_state for one in shown] == ["active", "stopped", "powered_off"]
    assert {one.host for one in shown} == {"h2"}
    lab.run()
    assert lab.claimed("h1") == (0, 0, 0)
    assert lab.world.machines["h1"].found() == []
    assert not is_open(lab)
    told = machine(done, running)
    assert (told.verdict, told.progress, told.host) == ("moved", 100, "h2")
    assert told.seconds


def test_no_more_than_so_many_move_at_once(lab: Lab, ops: Drains) -> None:
    for _ in range(5):
        lab.active("h1")
    drain = ops.create(max_parallel=2)
    while ops.show(drain).finished_at is None:
        ops.round()
        shown = ops.show(drain)
        assert shown.counts.get("moving", 0) <= 2
        lab.run()
        live = sa.select(Action).where(Action.status.in_(("accepted", "running")))
        assert len(lab.ledger.rows(live)) <= 2
    assert ops.show(drain).counts == {"moved": 5}


def test_it_goes_on_where_it_was_whoever_works_on_it(lab: Lab, ops: Drains) -> None:
    vms = [lab.active("h1") for _ in range(4)]
    drain = ops.create()
    done = drain
    for _ in range(60):
        ops = Drains(lab)
        ops.round()
        lab.run()
        done = ops.show(drain)
        if done.finished_at:
            break
    assert (done.status, done.counts) == ("completed", {"moved": 4})
    for vm in vms:
        moves = sa.select(Action).where(Action.instance_id == vm, Action.verb == "migrate")
        assert len(lab.ledger.rows(moves)) == 1


def test_two_conductors_do_not_work_on_one_drain_at_once(lab: Lab, ops: Drains) -> None:
    lab.active("h1")
    drain = ops.create()
    other = Drainer(lab.ledger.turns, INTERVAL)
    ops.round()
    before = lab.ledger.row(Drain, drain.id).ticked_at
    other.round()
    assert lab.ledger.row(Drain, drain.id).ticked_at == before


def test_a_machine_that_cannot_be_moved_runs_on_where_it_was(lab: Lab, ops: Drains) -> None:
    vm = lab.active("h1")
    drain = ops.create()
    for _ in range(60):
        ops.round()
        lab.run("h1", "h3")
        for step in lab.waiting("h2"):
            agent = lab.agents["h2"]
            agent.finish(agent.start(step), HypervisorError("The link broke."), Seen.GONE)
        lab.pass_time(3)
        if ops.show(drain).finished_at:
            break
    done = ops.show(drain)
    assert (done.status, machine(done, vm).verdict) == ("failed", "failed")
    assert machine(done, vm).reason
    assert (lab.ledger.show(vm).vm_state, lab.ledger.show(vm).host) == ("active", "h1")
    assert ("h1", "compute") in lab.claims(vm)


def test_without_room_elsewhere_nothing_is_stopped(lab: Lab, ops: Drains) -> None:
    vm = lab.active("h1")
    lab.ledger.change(Host, "h2", vcpus=0)
    drain = ops.create()
    assert machine(drain, vm).reason is not None
    done = ops.work(drain)
    assert done.status == "failed"
    assert "not enough vCPUs (1)" in str(machine(done, vm).reason)
    stops = sa.select(Action).where(Action.verb == "os-stop")
    assert lab.ledger.rows(stops) == []


def test_what_is_locked_excluded_or_has_memory_to_lose_is_left_and_named(
    lab: Lab, ops: Drains
) -> None:
    locked, paused, excluded = (lab.active("h1") for _ in range(3))
    lab.ledger.do(locked, "lock", locked_reason="billing")
    lab.ledger.do(paused, "pause")
    lab.run()
    done = ops.work(ops.create(exclude=[excluded]))
    assert (done.status, done.counts) == ("completed", {"left": 3})
    assert machine(done, locked).reason == "it is locked: billing"
    assert machine(done, paused).reason == "it is paused, and its memory would be lost"
    assert machine(done, excluded).reason == "it is excluded"


@pytest.mark.parametrize("strategy", ["leave", "live"])
def test_a_strategy_may_leave_what_runs(lab: Lab, ops: Drains, strategy: str) -> None:
    running, still = lab.active("h1"), stopped(lab)
    done = ops.work(ops.create(strategy=strategy))
    assert (machine(done, running).verdict, machine(done, still).verdict) == ("left", "moved")
    assert lab.ledger.show(running).vm_state == "active"


def test_machines_may_go_to_another_zone(lab: Lab, ops: Drains) -> None:
    vm = lab.active("h1")
    ops.work(ops.create(target_zone="az2"))
    assert lab.ledger.show(vm).host == "h3"


def test_the_last_host_of_a_zone_is_named_before(lab: Lab, ops: Drains) -> None:
    assert ops.plan("h3").notes == ["Host h3 is the last open host of zone az2."]


def test_a_machine_that_is_deleted_meanwhile_is_gone(lab: Lab, ops: Drains) -> None:
    vms = [lab.active("h1") for _ in range(2)]
    drain = ops.create(max_parallel=1)
    ops.round()
    lab.run()
    for vm in vms:
        lab.ledger.do(vm, "delete", ctxt=lab.ledger.admin)
    lab.run()
    done = ops.work(drain)
    assert (done.status, done.counts) == ("completed", {"gone": 2})


def test_a_machine_that_comes_meanwhile_leaves_too(lab: Lab, ops: Drains) -> None:
    (ticket,) = lab.ledger.create(lab.ledger.admin, host="h1")
    drain = ops.create()
    lab.ledger.change(Host, "h1", paused=0)
    late = lab.ledger.create(lab.ledger.admin, host="h1")[0].instance_id
    lab.ledger.change(Host, "h1", paused=1)
    done = ops.work(drain)
    assert done.counts == {"moved": 2}
    assert {lab.ledger.show(vm).host for vm in (ticket.instance_id, late)} == {"h2"}


def test_a_paused_drain_begins_nothing_and_ends_what_it_began(lab: Lab, ops: Drains) -> None:
    for _ in range(3):
        lab.active("h1")
    drain = ops.create(max_parallel=1)
    ops.round()
    ops.steer(drain, "pause")
    for _ in range(10):
        ops.round()
        lab.run()
    assert ops.show(drain).counts == {"moved": 1, "planned": 2}
    ops.steer(drain, "resume")
    assert ops.work(drain).counts == {"moved": 3}


def test_a_pause_between_two_transactions_of_a_round_is_obeyed(
    lab: Lab, ops: Drains, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        lab.active("h1")
    drain = ops.create(max_parallel=6)
    run, begun = lab.ledger.turns.run, []

    def pause_after_the_first(fn: Any) -> Any:
        answer = run(fn)
        begun.append(ops.show(drain).counts)
        if len(begun) == 1:
            run(lambda turn: drains.steer(turn, str(drain.id), "pause", {}))
        return answer

    monkeypatch.setattr(lab.ledger.turns, "run", pause_after_the_first)
    ops.round()
    monkeypatch.undo()
    assert begun[0] == {"moving": 4, "planned": 2}
    assert ops.show(drain).counts == {"moving": 4, "planned": 2}


def test_a_drain_waits_for_what_may_have_come_to_its_host_live(lab: Lab, ops: Drains) -> None:
    vm = lab.active("h2")
    lab.ledger.do(vm, "os-migrateLive", ctxt=lab.ledger.admin, host="h1")
    lab.run("h1")
    lab.agents["h2"].finish(lab.started("h2"), HypervisorError("the link broke"), None)
    assert lab.left() == {("h1", "arrival")}
    drain = ops.create()
    ops.round()
    assert ops.show(drain).status == "running"
    lab.pass_time(6)
    lab.run()
    assert ops.work(drain).status == "completed"


def test_a_cancelled_drain_does_not_wait_for_a_host_that_does_not_tell(
    lab: Lab, ops: Drains
) -> None:
    vm = lab.active("h1")
    lab.ledger.do(vm, "os-migrateLive", ctxt=lab.ledger.admin, host="h2")
    lab.run("h2")
    lab.agents["h1"].finish(lab.started("h1"), HypervisorError("the link broke"), None)
    lab.kill("h2")
    drain = ops.create()
    ops.round()
    ops.steer(drain, "cancel")
    done = ops.work(drain, "h1")
    assert (done.status, done.counts) == ("cancelled", {"left": 1})


@pytest.mark.parametrize("reopen", [True, False])
def test_a_cancelled_drain_leaves_the_rest_as_it_was(lab: Lab, ops: Drains, reopen: bool) -> None:
    vms = [lab.active("h1") for _ in range(3)]
    drain = ops.create(max_parallel=1)
    ops.round()
    lab.run()
    ops.steer(drain, "cancel", reopen=reopen)
    done = ops.work(drain)
    assert done.status == "cancelled"
    assert is_open(lab) is reopen
    assert {lab.ledger.show(vm).vm_state for vm in vms} == {"active"}
    assert done.counts == {"left": 3}
    assert all("cancelled" in str(one.reason) for one in done.machines)


def test_restoring_opens_the_host_and_brings_home_what_left(lab: Lab, ops: Drains) -> None:
    running, still = lab.active("h1"), stopped(lab)
    drain = ops.work(ops.create())
    ops.steer(drain, "restore")
    assert is_open(lab)
    done = ops.work(drain)
    assert (done.status, done.counts) == ("restored", {"returned": 2})
    shown = [lab.ledger.show(vm) for vm in (running, still)]
    assert [(one.host, one.vm_state) for one in shown] == [("h1", "active"), ("h1", "stopped")]


def test_what_failed_is_tried_again(lab: Lab, ops: Drains) -> None:
    vm = lab.active("h1")
    lab.ledger.change(Host, "h2", vcpus=0)
    drain = ops.work(ops.create())
    assert drain.status == "failed"
    lab.ledger.change(Host, "h2", vcpus=8)
    ops.steer(drain, "retry")
    done = ops.work(drain)
    assert (done.status, lab.ledger.show(vm).host) == ("completed", "h2")


def test_after_its_time_no_move_begins(lab: Lab, ops: Drains) -> None:
    for _ in range(3):
        lab.active("h1")
    until = (lab.clock.now + datetime.timedelta(seconds=2)).isoformat() + "Z"
    drain = ops.create(max_parallel=1, deadline=until)
    ops.round()
    lab.run()
    lab.clock.advance(2)
    done = ops.work(drain)
    assert done.status == "failed"
    assert {lab.ledger.show(one.id).vm_state for one in done.machines} == {"active"}
    assert "time was over" in str(done.machines[-1].reason)


def test_an_administrators_own_pause_stays(lab: Lab, ops: Drains) -> None:
    lab.ledger.pause("h1", "mine")
    drain = ops.work(ops.create())
    ops.steer(drain, "cancel")
    assert lab.host("h1").paused == 1


def test_a_repeated_request_makes_one_drain(lab: Lab, ops: Drains) -> None:
    key = lab.ledger.new_id()
    assert ops.create(id=key).id == ops.create(id=key).id == key
    with pytest.raises(BadRequest, match="Idempotency-Key"):
        ops.create("h2", id=key)


def test_a_host_is_drained_once_at_a_time(lab: Lab, ops: Drains) -> None:
    lab.active("h1")
    drain = ops.create()
    with pytest.raises(Conflict, match=f"by drain {drain.id}"):
        ops.create()
    ops.work(drain)
    again = ops.create()
    with pytest.raises(Conflict, match="being drained already"):
        ops.steer(drain, "restore")
    assert ops.work(again).status == "completed"


@pytest.mark.parametrize("verb", ["restore", "retry", "resume"])
def test_a_running_drain_takes_only_what_fits(lab: Lab, ops: Drains, verb: str) -> None:
    lab.active("h1")
    drain = ops.create()
    with pytest.raises(Conflict, match=f"Cannot {verb} drain .* while it is running"):
        ops.steer(drain, verb)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"max_parallel": 0}, "max_parallel must be from 1 to 100"),
        ({"max_parallel": -1}, "max_parallel"),
        ({"max_parallel": 10_000_000}, "max_parallel"),
        ({"strategy": "fast"}, "strategy must be one of auto, cold, live, leave"),
        ({"target_zone": "az9"}, "target_zone: The zone az9 has no hosts"),
        ({"deadline": "soon"}, "deadline"),
        ({"deadline": "2001-01-01T00:00:00Z"}, "deadline must be in the future"),
        ({"speed": 1}, "takes no speed"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_changes(
    lab: Lab, ops: Drains, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadRequest, match=said):
        ops.create(**fields)
    assert lab.ledger.rows(sa.select(Drain)) == []
    assert is_open(lab)


def test_an_unknown_host_or_drain_is_not_found(lab: Lab, ops: Drains) -> None:
    with pytest.raises(NotFound, match="host: Host h9"):
        ops.create("h9")
    with pytest.raises(NotFound):
        lab.ledger.turns.read(lambda turn: drains.get(turn, lab.ledger.new_id()))


def test_drains_are_listed_newest_first_by_host_and_status(lab: Lab, ops: Drains) -> None:
    first = ops.work(ops.create())
    lab.clock.advance(1)
    second = ops.work(ops.create("h2"))

    def listed(**values: Any) -> list[str | None]:
        page = Listing(**values)
        return [row.id for row in lab.ledger.turns.read(lambda turn: drains.list_page(turn, page))]

    assert listed() == [second.id, first.id]
    assert listed(filters={"host": "h1"}) == [first.id]
    assert listed(filters={"status": "running"}) == []
    assert listed(marker=second.id) == [first.id]
    assert listed(limit=1) == [second.id]


def test_what_was_stopped_is_started_though_its_host_was_away_for_a_minute(
    lab: Lab, ops: Drains
) -> None:
    vm = lab.active("h1")
    drain = ops.create()
    ops.round()
    lab.run("h1")
    assert lab.ledger.show(vm).vm_state == "stopped"
    lab.kill("h1")
    for _ in range(20):
        ops.round()
        lab.pass_time(3, "h1")
    assert ops.show(drain).finished_at is None
    lab.agents["h1"] = lab.boot("h1")
    for _ in range(60):
        ops.round()
        lab.run()
        lab.pass_time(3)
    assert lab.ledger.show(vm).vm_state == "active"
    assert ops.show(drain).finished_at


@pytest.mark.parametrize(("verb", "verdict"), [("retry", "moved"), ("restore", "returned")])
def test_what_a_drain_left_stopped_is_started_by_the_next_try(
    lab: Lab, ops: Drains, verb: str, verdict: str
) -> None:
    vm = lab.active("h1")
    drain = ops.create()
    ops.round()
    lab.run("h1")
    row = {"drain_id": drain.id, "instance_id": vm}
    failed = {"status": "done", "verdict": "failed", "action_id": None, "tries": 6}
    lab.ledger.turns.run(lambda turn: turn.change(DrainRow, row, **failed))
    assert ops.work(drain).status == "failed"
    ops.steer(drain, verb)
    done = ops.work(drain)
    assert (machine(done, vm).verdict, lab.ledger.show(vm).vm_state) == (verdict, "active")


def test_a_drain_waits_for_what_is_still_on_its_way_to_the_host(lab: Lab, ops: Drains) -> None:
    vm = lab.off("h2")
    lab.ledger.do(vm, "migrate", ctxt=lab.ledger.admin, host="h1")
    lab.run("h2")
    drain = ops.create()
    for _ in range(3):
        ops.round()
    assert ops.show(drain).status == "running"
    done = ops.work(drain)
    assert (done.status, done.counts) == ("completed", {"moved": 1})
    assert lab.ledger.show(vm).host == "h2"


def test_an_older_drain_does_not_open_the_host_under_a_running_one(lab: Lab, ops: Drains) -> None:
    first = ops.work(ops.create())
    lab.active("h2")
    lab.ledger.change(Host, "h1", paused=0)
    lab.active("h1")
    lab.ledger.change(Host, "h1", paused=1)
    ops.create()
    for verb in ("cancel", "restore", "retry"):
        with pytest.raises(Conflict, match="being drained already"):
            ops.steer(first, verb)
    assert not is_open(lab)


def test_a_host_that_stayed_closed_can_be_opened_later(lab: Lab, ops: Drains) -> None:
    lab.active("h1")
    drain = ops.create()
    ops.steer(drain, "cancel", reopen=False)
    ops.work(drain)
    assert not is_open(lab)
    assert ops.steer(drain, "cancel").status == "cancelled"
    assert is_open(lab)


def test_where_two_come_already_the_others_wait(lab: Lab, ops: Drains) -> None:
    for _ in range(6):
        lab.active("h1")
    drain = ops.create(max_parallel=6)
    for _ in range(80):
        ops.round()
        live = sa.select(Action).where(Action.status.in_(("accepted", "running")))
        assert len(lab.ledger.rows(live)) <= 2
        lab.run()
    assert ops.show(drain).counts == {"moved": 6}


class Watched:
    """Turns that are counted: how many actions each transaction began.

    :param between: done after the first
    """

    def __init__(self, lab: Lab, between: Callable[[], object] = lambda: None) -> None:
        self._lab = lab
        self._between = between
        self.begun: list[int] = []

    def read(self, fn: Any) -> Any:
        return self._lab.ledger.turns.read(fn)

    def run(self, fn: Any) -> Any:
        before = self._count()
        answer = self._lab.ledger.turns.run(fn)
        self.begun.append(self._count() - before)
        if len(self.begun) == 1:
            self._between()
        return answer

    def _count(self) -> int:
        return len(self._lab.ledger.rows(sa.select(Action)))


def restoring(lab: Lab, ops: Drains, machines: int) -> DrainRecord:
    """A drain that is to bring home so many machines, all at once."""
    for _ in range(machines):
        stopped(lab)
    drain = ops.work(ops.create(max_parallel=machines))
    assert drain.counts == {"moved": machines}
    ops.steer(drain, "restore")
    lab.clock.advance(INTERVAL)
    return drain


def test_a_round_holds_hosts_for_a_few_machines_at_a_time(lab: Lab, ops: Drains) -> None:
    restoring(lab, ops, 6)
    turns = Watched(lab)
    Drainer(turns, INTERVAL).round()  # type: ignore[arg-type]
    assert turns.begun == [BATCH, 6 - BATCH]


def test_who_lost_a_drain_in_the_middle_of_a_round_leaves_it(lab: Lab, ops: Drains) -> None:
    drain = restoring(lab, ops, 6)
    taken = lambda: lab.ledger.change(Drain, drain.id, ticked_at=lab.clock.now + DAY)  # noqa: E731
    turns = Watched(lab, taken)
    Drainer(turns, INTERVAL).round()  # type: ignore[arg-type]
    assert turns.begun == [BATCH, 0]


def test_trying_again_takes_what_came_back_too(lab: Lab, ops: Drains) -> None:
    vm = lab.active("h1")
    drain = ops.work(ops.create())
    ops.steer(drain, "restore")
    assert ops.work(drain).counts == {"returned": 1}
    lab.ledger.change(Drain, drain.id, status="cancelled")
    ops.steer(drain, "retry")
    assert ops.work(drain).counts == {"moved": 1}
    assert lab.ledger.show(vm).host == "h2"


def test_a_closed_hosts_drain_is_not_forgotten(lab: Lab, ops: Drains) -> None:
    drain = ops.work(ops.create())
    lab.clock.advance(400 * 86400)
    lab.ledger.turns.run(retention.purge)
    assert ops.show(drain).status == "completed"
    ops.steer(drain, "cancel")
    lab.ledger.turns.run(retention.purge)
    assert lab.ledger.rows(sa.select(Drain)) == []
