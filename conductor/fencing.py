"""Launches on hosts that an administrator forced down: surely nothing of them runs."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from conductor import claims, leftovers, live
from conductor.db.models import Host, Instance, Leftover
from conductor.reconcile import off_at_home
from conductor.turn import Turn
from paddock.actions import PowerState, VmState


def settleable(turn: Turn) -> list[str]:
    """Ids of ``guest`` and ``arrival`` leftovers on fenced or removed hosts."""
    standing = sa.select(Host.name).where(Host.forced_down.is_(False))
    query = sa.select(Leftover.id).where(
        Leftover.kind.in_(leftovers.UNDECIDED), Leftover.host.not_in(standing)
    )
    return list(turn.session.scalars(query.order_by(Leftover.id)))


def settle(turn: Turn, leftover_id: str) -> None:
    """The machine is no longer barred from other hosts.

    After a move of which nobody knows the end, it is off where its disk was before: the user was
    told that the move failed. The copy on the fenced host goes when that host comes back.
    """
    row = turn.get(Leftover, leftover_id)
    instance = turn.get(Instance, row.instance_id) if row else None
    if row is None or (instance is not None and instance.busy):
        return
    leftovers.settle(turn, row)
    if instance is None or instance.deleted:
        return
    if row.kind == leftovers.ARRIVAL:
        live.stay_unfenced(turn, instance, row.host)
        changes: dict[str, Any] = {}
    else:
        changes = _changes(turn, instance, row.host)
    turn.must(
        Instance, Instance.id == instance.id, Instance.busy.is_(None),
        Instance.host == instance.host, updated_at=turn.now, **changes,
    )  # fmt: skip


def _changes(turn: Turn, instance: Instance, fenced: str) -> dict[str, Any]:
    if instance.disk_host == fenced:
        if instance.vm_state == VmState.POWERED_OFF:
            claims.release(turn, instance.id, fenced, claims.COMPUTE)
            return {"power_state": PowerState.POWER_OFF.value}
        return {}
    if instance.host != fenced:
        return {}
    claims.release(turn, instance.id, fenced)
    leftovers.leave(turn, fenced, leftovers.DISK, instance.id, instance.generation + 1)
    return off_at_home(instance)
