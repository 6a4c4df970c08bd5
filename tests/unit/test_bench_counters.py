"""How the benchmark reads what broker and database count."""

from __future__ import annotations

import pytest

from bench.counters import Counts, read_overview, sort_statements

OVERVIEW = """{1795303063115991,
 #{[{protocol,amqp091}] =>
       #{consumers => 18,messages_confirmed_total => 122,
         messages_received_confirm_total => 122,
         messages_received_total => 122,messages_routed_total => 112},
   [{protocol,amqp10}] => #{messages_received_total =>
          3},
   [{protocol,amqp091},{queue_type,rabbit_quorum_queue}] =>
       #{messages_acknowledged_total => 56,messages_delivered_total => 56}}}
"""


def test_messages_are_those_that_the_broker_took_by_any_protocol() -> None:
    assert read_overview(OVERVIEW) == (1795303063.115991, 125.0)


def test_other_words_of_the_broker_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_overview("Error: unable to perform an operation on node")


def test_statements_that_only_bound_transactions_are_counted_apart() -> None:
    found = sort_statements(
        {"BEGIN": 3, "COMMIT": 2, "ROLLBACK": 1, "SELECT 1": 5, "UPDATE settings SET a = $1": 4}
    )
    assert found == {"statements": 9.0, "transaction statements": 6.0, "commits": 2.0}


def test_what_an_idle_cloud_would_have_counted_is_taken_off() -> None:
    idle = Counts({"messages": 20, "cpu.api": 1.0}, {"messages": 10, "cpu.api": 10})
    grown = Counts({"messages": 74, "cpu.api": 0.1}, {"messages": 2, "cpu.api": 2})
    assert grown.without(idle) == {"messages": 70, "cpu.api": 0.0}


def test_counters_of_two_moments_give_what_grew_and_how_long() -> None:
    before, after = Counts({"messages": 5}, {"messages": 100.0}), Counts(
        {"messages": 12}, {"messages": 103.0}
    )  # fmt: skip
    assert after - before == Counts({"messages": 7}, {"messages": 3.0})
