"""What a pass found and wants, before it is written down as actions and status."""

from __future__ import annotations

from dataclasses import dataclass

from gateway_operator.api.generation import Generation
from gateway_operator.api.status import ReshardStatus
from gateway_operator.planning.actions import Action
from gateway_operator.planning.hold import Hold
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
