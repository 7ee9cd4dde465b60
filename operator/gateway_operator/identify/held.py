"""What of the budget keeps permits back just now, of each gateway: told to people by the pass over it.

Pods ask again within a quarter of a minute for as long as they lack a permit, so what was not said again for longer is
over.
"""

from __future__ import annotations

from typing import Final

from shard_runtime.contract import HeldBack

FORGET_SECONDS: Final = 20.0

GatewayKey = tuple[str, str]


class HeldPermits:
    """Why permits are held back, by gateway."""

    def __init__(self) -> None:
        self._until: dict[GatewayKey, dict[HeldBack, float]] = {}
        self._told: dict[GatewayKey, frozenset[HeldBack]] = {}

    def note(self, now: float, gateway: GatewayKey, held: str | None) -> None:
        """A pod of *gateway* was told to wait; *held* is ``PermitWait.held``."""
        if held is not None and held in HeldBack.__members__.values():
            self._until.setdefault(gateway, {})[HeldBack(held)] = now + FORGET_SECONDS

    def of(self, now: float, gateway: GatewayKey) -> frozenset[HeldBack]:
        """What holds permits of *gateway* back."""
        return frozenset(why for why, until in self._until.get(gateway, {}).items() if now < until)

    def is_news(self, now: float, gateway: GatewayKey) -> bool:
        """Whether something holds permits back that did not when this was last asked."""
        held = self.of(now, gateway)
        before = self._told.get(gateway, frozenset())
        self._told[gateway] = held
        return bool(held - before)

    def forget(self, gateway: GatewayKey) -> None:
        self._until.pop(gateway, None)
        self._told.pop(gateway, None)
