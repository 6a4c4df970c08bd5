"""What version 1.0 of the processes' contract had stays, and what came later has its version."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from compute_agent.endpoint import Endpoint
from conductor.agent_endpoint import AgentEndpoint
from conductor.catalog_endpoint import CatalogEndpoint
from conductor.ledger_endpoint import LedgerEndpoint
from paddock import actions, errors, records
from paddock.clients import CONTRACT
from paddock.errors import PaddockError, from_wire
from paddock.versions import FIRST
from tests.pinned import ANSWER, Pinned, bare, is_optional

SERVED = {
    "conductor-api": (LedgerEndpoint, CatalogEndpoint),
    "conductor-agent": (AgentEndpoint,),
    "agent": (Endpoint,),
}
PINNED = Pinned()
OLD_METHODS = {name for methods in PINNED.methods.values() for name in methods}
LATER = [name for version, names in CONTRACT.added.items() if version != FIRST for name in names]
ADVICE = "see 'Versions' in docs/messaging.md"


def served(topic: str) -> dict[str, inspect.Signature]:
    """Methods that a topic's endpoints expose."""
    return {
        name: inspect.signature(method)
        for endpoint in SERVED[topic]
        for name, method in vars(endpoint).items()
        if hasattr(method, "exposed")
    }


def classes(root: type[PaddockError]) -> Iterator[type[PaddockError]]:
    """All errors that may cross the bus."""
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from classes(child)


@pytest.mark.parametrize("topic", SERVED)
def test_every_method_is_in_the_table_with_its_version(topic: str) -> None:
    now, then = set(served(topic)), set(PINNED.methods[topic])
    assert then <= now, f"an older release still calls this; {ADVICE}"
    assert now - then <= set(LATER), f"a new method has a version; {ADVICE}"
    assert set(CONTRACT.added[FIRST]) == OLD_METHODS


def test_a_message_that_is_turned_round_to_another_topic_has_no_method_there() -> None:
    """An agent can have hints for it, which bear an API's or conductor's name, die elsewhere."""
    names = [name for topic in SERVED for name in served(topic)]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("topic", SERVED)
def test_every_later_argument_has_a_version_and_a_default(topic: str) -> None:
    for method, signature in served(topic).items():
        then = {bare(name) for name in PINNED.methods[topic].get(method, {}) if name != ANSWER}
        now = dict(list(signature.parameters.items())[2:])
        assert then <= set(now), f"an older release still sends this to {method}; {ADVICE}"
        if method not in OLD_METHODS:
            continue
        for name in set(now) - then:
            assert f"{method}.{name}" in LATER, f"a new argument has a version; {ADVICE}"
            assert now[name].default is None, f"{method}.{name}: None is what is not sent"


@pytest.mark.parametrize("topic", SERVED)
def test_an_argument_that_could_be_left_out_still_can(topic: str) -> None:
    now = served(topic)
    for method, arguments in PINNED.methods[topic].items():
        for name in filter(is_optional, arguments):
            assert now[method].parameters[bare(name)].default is not inspect.Parameter.empty


@pytest.mark.parametrize("name", [n for n in records.__all__ if n != "Record"])
def test_a_records_fields_stay_and_later_ones_have_a_version_and_a_default(name: str) -> None:
    kind = getattr(records, name)
    now = {field.name: field for field in msgspec.structs.fields(kind)}
    then: dict[str, str] = PINNED.table["records"].get(name, {})
    for field, annotation in then.items():
        assert kind.__annotations__[bare(field)] == annotation, f"{name}.{field}; {ADVICE}"
        assert not (is_optional(field) and now[bare(field)].required), f"{name}.{field}; {ADVICE}"
    for field in set(now) - {bare(field) for field in then} if then else ():
        assert f"{name}.{field}" in LATER, f"a new field has a version; {ADVICE}"
        assert not now[field].required, f"an older sender does not know {name}.{field}; {ADVICE}"


def test_what_the_table_lists_is_there() -> None:
    methods = {name: signature for topic in SERVED for name, signature in served(topic).items()}
    for name in LATER:
        owner, _, part = name.partition(".")
        if owner in methods:
            assert not part or part in methods[owner].parameters, name
        else:
            assert part in {f.name for f in msgspec.structs.fields(getattr(records, owner))}, name


@pytest.mark.parametrize("name", PINNED.table["values"])
def test_a_value_that_an_older_release_cannot_read_is_never_sent_to_one(name: str) -> None:
    now = {str(value) for value in getattr(actions, name)}
    then = set(PINNED.table["values"][name])
    assert then <= now
    if name == "StepKind":  # a host gets those that it told it can do
        guarded = [row for row in actions.ACTIONS.values() if set(row.steps) - then]
        assert [row.verb for row in guarded if row.capability is None] == []
    else:
        assert now == then, f"tell older releases the nearest of theirs; {ADVICE}"


def test_an_error_that_an_older_release_does_not_know_crosses_as_one_that_it_knows() -> None:
    then: dict[str, int] = PINNED.table["errors"]
    for kind in classes(PaddockError):
        known = kind("said", reason=1).to_wire()
        assert known["type"] in then, f"{kind.__name__} is newer: set its 'since'; {ADVICE}"
        assert (kind.since == FIRST) == (kind.__name__ in then)
    assert {kind.__name__: kind.status for kind in classes(PaddockError)
            if kind.__name__ in then} == then  # fmt: skip


def test_a_newer_error_keeps_its_sentence_and_status() -> None:
    class DiskTooSlow(errors.Conflict):
        since = "1.9"

    class DiskAsleep(DiskTooSlow):
        pass

    error = from_wire(DiskAsleep("The disk sleeps.", disk="sda").to_wire())
    assert (type(error), error.status) == (errors.Conflict, 409)
    assert (error.message, error.kwargs) == ("The disk sleeps.", {"disk": "sda"})


def test_a_record_ignores_what_a_newer_sender_added() -> None:
    document: dict[str, Any] = {"host": "h1", "epoch": "e", "step_id": "s", "attempt": 1}
    ref = msgspec.convert(document | {"priority": 5}, records.StepRef)
    assert msgspec.to_builtins(ref) == document
