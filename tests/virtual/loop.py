"""An asyncio event loop on virtual time.

When nothing is ready to run, time jumps to the next timer: an hour of heartbeats takes milliseconds, and the same
program with the same seed does the same things in the same order. The loop has no sockets, no signals and no threads:

- a real socket operation raises, so that nothing leaves the virtual world unnoticed;
- ``run_in_executor`` (so ``asyncio.to_thread`` too) runs the function at once, in place;
- when every task waits and no timer is left, nothing can ever happen again, and :class:`DeadlockError` says so.

What is *not* deterministic for Python itself stays so: iterating over a set of tasks, or a hash of strings across
processes unless ``PYTHONHASHSEED`` is set. Order what you iterate.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NoReturn, TypeVar, TypeVarTuple

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class DeadlockError(RuntimeError):
    """Every task waits for another one and no timer is left."""


class _NoSockets(selectors.BaseSelector):
    """Waits by letting virtual time pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise DeadlockError("every task waits, and no timer is left that could wake one")
        if timeout > 0:
            self.now += timeout
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> NoReturn:
        raise RuntimeError("a virtual loop has no sockets; use the virtual network")

    def unregister(self, fileobj: Any) -> NoReturn:
        raise KeyError(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. ``time()`` starts at 0."""

    def __init__(self) -> None:
        self._virtual = _NoSockets()
        super().__init__(self._virtual)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._virtual.now

    def run_in_executor(
        self, executor: Any, func: Callable[[*Arguments], Result], *args: *Arguments
    ) -> asyncio.Future[Result]:
        future: asyncio.Future[Result] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 — the future is the caller's
            future.set_exception(error)
        return future

    # asyncio wakes its selector over a socket pair of its own; nothing else runs here that could need that.
    def _make_self_pipe(self) -> None:
        pass

    def _close_self_pipe(self) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def run_virtual(main: Coroutine[Any, Any, Result]) -> Result:
    """Run *main* to its end on a fresh virtual loop; cancel what it left behind; raise what it raised.

    An exception that a task or a callback lost on the way (asyncio only logs those) fails the run too.
    """
    loop = VirtualLoop()
    lost: list[str] = []
    loop.set_exception_handler(lambda _, context: lost.append(_describe(context)))
    try:
        asyncio.set_event_loop(loop)
        try:
            result = loop.run_until_complete(main)
        finally:
            _cancel_all(loop)
        if lost:
            raise AssertionError("lost on the way: " + "; ".join(lost))
        return result
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def _describe(context: dict[str, Any]) -> str:
    return f"{context.get('message')}: {context.get('exception')!r}"


def _cancel_all(loop: VirtualLoop) -> None:
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
