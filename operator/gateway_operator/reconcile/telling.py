"""Tells people what happened, as Events, and keeps quiet about what it has just told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway_operator.cluster.port import Cluster, Manifest
from gateway_operator.planning.news import News
from gateway_operator.ports import Clock

QUIET_SECONDS: Final = 300.0
"""Between two Events of the same reason about one gateway."""


class Teller:
    """Writes Events about gateways. Best effort: nothing depends on them."""

    def __init__(self, *, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._told: dict[tuple[str, str], dict[str, float]] = {}

    async def tell(self, gateway: Manifest, events: Iterable[News]) -> None:
        """Write the Events whose reason was not told lately."""
        metadata, now = gateway["metadata"], self._clock.monotonic()
        told = self._told.setdefault((metadata["namespace"], metadata["name"]), {})
        for event in events:
            if now - told.get(event.reason, float("-inf")) < QUIET_SECONDS:
                continue
            told[event.reason] = now
            await self._cluster.emit_event(
                regarding=gateway, reason=event.reason, message=event.message, warning=event.warning
            )

    def forget(self, namespace: str, name: str) -> None:
        self._told.pop((namespace, name), None)
