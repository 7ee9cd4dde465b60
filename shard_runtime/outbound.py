"""The way out: a shard's commands, each sent as soon as the session is live and its budget has room.

A command waits here for a few seconds at most, and its caller with it: who is answered knows that it was sent. What
could not be sent within that time is refused at once, with the moment at which it could be. Commands that share a limit
go out in the order in which they came.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from shard_runtime.ports import Clock
from shard_runtime.protocol.send_budget import Command, SendBudget, alike

WAIT_SECONDS: Final = 10.0
"""How long a command waits for a live session, and for room in the budget."""

MOST_WAITING: Final = 100
"""Commands of one shard that wait at the same time; about what a minute's budget is."""


class NoSessionError(Exception):
    """The shard has had no live session for longer than a command waits."""


class BusyError(Exception):
    """A limit of Discord's leaves no room soon."""

    def __init__(self, text: str, *, retry_after: float) -> None:
        super().__init__(text)
        self.retry_after = retry_after
        """Seconds."""


@dataclass(slots=True, eq=False)
class _Waiting:
    command: Command
    sent: asyncio.Future[None]


class Outbound:
    """Commands of one shard. Its owner says how the session is and, when :meth:`due`, calls :meth:`pump`."""

    def __init__(
        self,
        *,
        shard: int,
        budget: SendBudget,
        clock: Clock,
        write: Callable[[bytes], None],
        wake: Callable[[], None],
        sent: Callable[[Command, float], None] = lambda command, now: None,
    ) -> None:
        """*write* puts a payload on the live connection; *wake* lets the owner look at :meth:`due` again; *sent* is
        told what went out, and when."""
        self._note = sent
        self._shard = shard
        self._budget = budget
        self._clock = clock
        self._write = write
        self._wake = wake
        self._waiting: list[_Waiting] = []
        self._down_since: float | None = clock.monotonic()
        """None while the session is live; minus infinity once it is not expected to come back."""
        self.sent = 0

    # --- The session ------------------------------------------------------------------------------------------------

    def live(self) -> None:
        """The session is live: send what waits."""
        self._down_since = None
        self.pump()

    def down(self) -> None:
        """The session is not live any more, or not yet."""
        if self._down_since is None:
            self._down_since = self._clock.monotonic()

    def stopped(self) -> None:
        """There will be no session until somebody starts the shard again."""
        self._down_since = -math.inf
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.sent.done():
                one.sent.set_exception(self._no_session())

    def due(self) -> float:
        """When there is room for one of those that wait; infinite where none waits for room."""
        if self._down_since is not None or not self._waiting:
            return math.inf
        now = self._clock.monotonic()
        return min(self._budget.free_at(one.command, now) for one in self._waiting)

    def pump(self) -> None:
        """Send those of the waiting for which there is room."""
        if self._down_since is not None:
            return
        now = self._clock.monotonic()
        left = []
        for one in self._waiting:
            if one.sent.done():
                continue  # its caller has left
            if self._budget.free_at(one.command, now) > now:
                left.append(one)
                continue
            self._send(one.command, now)
            one.sent.set_result(None)
        self._waiting = left

    def _send(self, command: Command, now: float) -> None:
        self._budget.sent(command, now)
        self._write(command.payload)
        self._note(command, now)
        self.sent += 1

    # --- Callers ----------------------------------------------------------------------------------------------------

    async def send(self, command: Command) -> None:
        """Return once *command* is sent.

        Raises :class:`BusyError` and :class:`NoSessionError` for one that cannot be within :data:`WAIT_SECONDS`.
        """
        now = self._clock.monotonic()
        until = self._deadline(command, now)
        if self._down_since is None and not self._waiting and self._budget.free_at(command, now) <= now:
            self._send(command, now)
            return
        one = _Waiting(command, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        self._wake()
        try:
            async with asyncio.timeout(until - now):
                await one.sent
        except TimeoutError:
            if one.sent.cancelled():
                raise self._too_late(command) from None
        finally:
            if one in self._waiting:
                self._waiting.remove(one)

    def _deadline(self, command: Command, now: float) -> float:
        if len(self._waiting) >= MOST_WAITING:
            raise BusyError(
                f"{MOST_WAITING} commands are waiting for shard {self._shard} already.", retry_after=WAIT_SECONDS
            )
        if self._down_since is not None:
            until = self._down_since + WAIT_SECONDS
            if until <= now:
                raise self._no_session()
            return until
        like = sum(alike(one.command, command) for one in self._waiting)
        free_at = self._budget.free_at(command, now, ahead=len(self._waiting), alike=like)
        if free_at > now + WAIT_SECONDS:
            raise self._busy(free_at - now)
        return now + WAIT_SECONDS

    def _too_late(self, command: Command) -> Exception:
        if self._down_since is not None:
            return self._no_session()
        now = self._clock.monotonic()
        return self._busy(max(1.0, self._budget.free_at(command, now) - now))

    def _no_session(self) -> NoSessionError:
        return NoSessionError(f"Shard {self._shard} has no live session.")

    def _busy(self, seconds: float) -> BusyError:
        return BusyError(f"Discord's limits leave room on shard {self._shard} in {seconds:.1f} s.", retry_after=seconds)
