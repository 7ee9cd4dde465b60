"""What a pass found and wants, before it is written down as actions and status."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway_operator.api.generation import Generation
from gateway_operator.api.status import ReshardStatus
from gateway_operator.planning.actions import Action, RefreshDiscord, WriteRecord
from gateway_operator.planning.hold import Hold
from gateway_operator.planning.observed import ObservedGeneration
from gateway_operator.planning.rollout import Rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The outcome of :func:`gateway_operator.planning.decide.decide`."""

    actions: tuple[Action, ...] = ()
    living: tuple[Generation, ...] = ()
    """Generations to keep as the spec wants their pods."""
    conflict: Hold | None = None
    """Evidence that cannot be true together; nothing is done."""
    hold: Hold | None = None
    """Why a generation that is wanted is not begun or created now."""
    reshard: ReshardStatus | None = None
    rollout: Rollout | None = None
    """Pods that are yet to get the present template."""
    given_up: str | None = None
    """A sentence about wishes that were tried, failed and are not tried again by themselves."""


def waiting_for(
    hold: Hold | None,
    *,
    living: tuple[Generation, ...] = (),
    reshard: ReshardStatus | None = None,
    rollout: Rollout | None = None,
    given_up: str | None = None,
) -> Decision:
    """Nothing is begun now. Where a reading is awaited that may change this at once, pods are left alone too."""
    if hold is not None and hold.refresh:
        if rollout is not None:
            rollout = replace(rollout, delete=None, pull=None, message=hold.message)
        refresh = (RefreshDiscord(),)
        return Decision(actions=refresh, living=living, hold=hold, reshard=reshard, rollout=rollout, given_up=given_up)
    return Decision(living=living, hold=hold, reshard=reshard, rollout=rollout, given_up=given_up)


def written(write: WriteRecord, *, reshard: ReshardStatus | None = None) -> Decision:
    return Decision(actions=(write,), reshard=reshard)


def living_of(*generations: ObservedGeneration | None) -> tuple[Generation, ...]:
    return tuple(g.fixed for g in generations if g is not None and g.fixed is not None and not g.deleting)
