"""The hooks ``identify`` and ``heartbeat`` of one shard.

Both are sent in any case and in time: a permit lasts 2 s, and a session without heartbeats dies. What a hook had begun
for a connection that is over is dropped with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from gateway_hooks import Hooks

IDENTIFY = "identify"
HEARTBEAT = "heartbeat"


class HookedSession:
    """Runs the hooks of a shard beside its loop."""

    def __init__(self, hooks: Hooks, *, shard: int, failed: Callable[[Exception], None]) -> None:
        """*failed* is told what the default raises, which is the shard's own trouble."""
        self._hooks = hooks
        self._shard = shard
        self._failed = failed
        self._tasks: set[asyncio.Task[None]] = set()

    @staticmethod
    def wanted(hooks: Hooks) -> bool:
        return IDENTIFY in hooks or HEARTBEAT in hooks

    def has(self, name: str) -> bool:
        return name in self._hooks

    def identify(
        self, payload: Mapping[str, Any], build: Callable[[Mapping[str, Any]], bytes], write: Callable[[bytes], None]
    ) -> None:
        """Let the hook see *payload*, the ``d`` of IDENTIFY without token and shard; *write* is called once.

        *build* makes the whole payload, or raises ``ValueError`` or ``TypeError`` for what Discord would not take.
        """

        async def default(shard: int, chosen: Mapping[str, Any]) -> None:
            try:
                if not isinstance(chosen, Mapping):
                    raise TypeError(f"{type(chosen).__name__} is no mapping")
                data = build(chosen)
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                self._hooks.misused(IDENTIFY, f"gave an IDENTIFY that cannot be sent ({error})")
                data = build(payload)
            write(data)

        self._start(self._hooks.call(IDENTIFY, default, self._shard, dict(payload)), IDENTIFY)

    def heartbeat(self, sequence: int | None, send: Callable[[], None]) -> None:
        """Let the hook know of a beat that is due with *sequence*; *send* is called once."""

        async def default(shard: int, number: int | None) -> None:
            send()

        self._start(self._hooks.call(HEARTBEAT, default, self._shard, sequence), HEARTBEAT)

    def end(self) -> None:
        """The shard stops."""
        for task in self._tasks:
            task.cancel()

    def _start(self, call: Any, name: str) -> None:
        task: asyncio.Task[None] = asyncio.create_task(self._watch(call), name=f"{name} of shard {self._shard}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self, call: Any) -> None:
        try:
            await call
        except Exception as error:  # noqa: BLE001 — the default's own trouble: the shard begins again, with backoff
            self._failed(error)
