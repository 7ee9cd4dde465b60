"""The hook ``request_identify``: who gives leave to identify."""

from __future__ import annotations

from gateway_hooks import Hooks, HookUseError
from shard_runtime import contract
from shard_runtime.shard_ports import Permits

NAME = "request_identify"


class HookedPermits:
    """:class:`~shard_runtime.shard_ports.Permits`, asked by way of the hook."""

    def __init__(self, permits: Permits, hooks: Hooks) -> None:
        self._permits = permits
        self._hooks = hooks

    async def acquire(self, shard: int) -> contract.Permit:
        return await self._hooks.call(NAME, self._permits.acquire, shard, check=_permit)

    async def report(self, permit: contract.Permit, result: contract.PermitResult) -> None:
        await self._permits.report(permit, result)


def _permit(found: object) -> contract.Permit:
    if not isinstance(found, contract.Permit):
        raise HookUseError(f"returned {type(found).__name__} and not a shard_runtime.contract.Permit")
    return found
