"""A wish whose answer did not come is asked for again, under the same id."""

from __future__ import annotations

from typing import Any

import pytest

from api.call import Call
from api.wishes import Wishes
from paddock.clients import LedgerClient
from paddock.context import RequestContext
from paddock.errors import (
    BusUnavailable,
    Conflict,
    DatabaseUnavailable,
    PaddockError,
    ServiceUnavailable,
    from_wire,
)


class Forgetful:
    """A conductor that gives these answers, one after another."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.ids: list[str] = []

    def call(self, ctxt: RequestContext, method: str, **kwargs: Any) -> Any:
        self.ids.append(kwargs["requests"][0]["action_id"])
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [answer]

    def cast(self, ctxt: RequestContext, method: str, **kwargs: Any) -> None:
        raise AssertionError("accept is called")


def ask(conductor: Forgetful) -> str:
    wishes = Wishes(LedgerClient(conductor), lambda *_: pytest.fail("nothing is to be hinted"))
    return wishes.ask_for(Call(request_id="req-1"), "i", "pause", {}).action_id


@pytest.mark.parametrize("error", [BusUnavailable(), DatabaseUnavailable()])
def test_an_answer_that_was_lost_is_asked_for_again(error: PaddockError) -> None:
    ticket = {"action_id": "a", "instance_id": "i", "step_id": None, "host": None, "kind": None}
    conductor = Forgetful(error, {"ok": ticket})
    assert ask(conductor) == "a"
    assert len(conductor.ids) == 2
    assert len(set(conductor.ids)) == 1


def test_a_refusal_is_not_asked_for_again() -> None:
    conductor = Forgetful({"error": Conflict("busy").to_wire()})
    with pytest.raises(Conflict):
        ask(conductor)


def test_who_gets_no_answer_twice_hears_so() -> None:
    with pytest.raises(ServiceUnavailable):
        ask(Forgetful(BusUnavailable(), DatabaseUnavailable()))


def test_an_errors_document_can_hold_any_name() -> None:
    document = {"type": "Conflict", "message": "m", "kwargs": {"message": 1, "self": 2, "x": 3}}
    error = from_wire(document)
    assert (type(error), error.message) == (Conflict, "m")
