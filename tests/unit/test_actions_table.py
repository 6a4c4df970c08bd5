"""The table of actions is what accept enforces, state by state."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conductor.db.models import Instance
from conductor.policy import list_rules
from paddock.actions import ACTIONS, CLEANING, OBSERVATIONS, Action, PowerState, VmState
from paddock.errors import PaddockError
from paddock.records import Ticket
from tests.fixtures.lab import Lab
from tests.fixtures.ledger import Clock, Ledger

IDLE_STATES = [state for state in VmState if state not in (VmState.BUILDING, VmState.DELETED)]
ASKED = [action for action in ACTIONS.values() if action.verb != "create"]


@pytest.fixture(scope="module")
def table_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One lab for all cases of the table, renewed by each."""
    file = tmp_path_factory.mktemp("table") / "ledger.db"
    ledger = Ledger(f"sqlite:///{file}", clock=Clock())
    yield Lab(ledger)
    ledger.close()


def in_state(lab: Lab, state: VmState) -> str:
    """An idle instance of that state, with the claims that belong to it."""
    lab.renew()
    if state == VmState.POWERED_OFF:
        return lab.off()
    instance_id = lab.active()
    lab.ledger.change(Instance, instance_id, vm_state=state.value)
    return instance_id


@pytest.mark.parametrize("state", IDLE_STATES)
@pytest.mark.parametrize("action", ASKED, ids=lambda action: action.verb)
def test_an_action_is_accepted_exactly_in_its_states(
    table_lab: Lab, action: Action, state: VmState
) -> None:
    instance_id = in_state(table_lab, state)
    params = {"state": "error"} if action.verb == "os-resetState" else {}
    answer = table_lab.ledger.ask(instance_id, action.verb, table_lab.ledger.admin, **params)
    powers_on = action.verb == "os-start" and state == VmState.POWERED_OFF
    if action.allowed is None or state in action.allowed or powers_on:
        assert isinstance(answer, Ticket), answer
        row = table_lab.ledger.instance(instance_id)
        shown = ACTIONS["vm-poweron"] if powers_on else action
        assert row.task_state == shown.task_state
        assert (row.busy is not None) == bool(action.steps)
    else:
        assert isinstance(answer, PaddockError)
        assert answer.status == (400 if action.power_errors else 409)
        assert state in answer.message
    assert table_lab.ledger.violations() == []


@pytest.mark.parametrize("verb", [a.verb for a in ASKED if a.success and not a.supersedes])
def test_success_leads_to_the_state_of_the_table(table_lab: Lab, verb: str) -> None:
    action = ACTIONS[verb]
    assert action.allowed
    assert action.success
    state = min(action.allowed & {*IDLE_STATES}, key=lambda one: one != VmState.ACTIVE)
    instance_id = in_state(table_lab, state)
    if state == VmState.SUSPENDED:
        table_lab.ledger.change(Instance, instance_id, power_state=PowerState.SUSPENDED)
    table_lab.ledger.do(instance_id, verb)
    table_lab.run()
    shown = table_lab.ledger.show(instance_id)
    assert (shown.vm_state, shown.power_state, shown.task_state) == (
        action.success, action.power, None,
    )  # fmt: skip
    assert table_lab.ledger.violations() == []


def test_every_action_has_a_policy_rule() -> None:
    rules = {rule.name for rule in list_rules()}
    assert {action.policy for action in ACTIONS.values()} <= rules


def test_clean_up_comes_last() -> None:
    for action in ACTIONS.values():
        cleaning = [kind in CLEANING for kind in action.steps]
        assert cleaning == sorted(cleaning), action.verb


def test_what_is_observed_twice_changes_nothing_more() -> None:
    for (_, seen), (state, power) in OBSERVATIONS.items():
        again = OBSERVATIONS.get((state, seen), (state, power))
        assert again == (state, power)
