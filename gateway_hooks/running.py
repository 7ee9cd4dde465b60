"""Calls hooks so that nothing depends on them.

A hook that raises, takes too long or does not do what the default had to do is logged and counted, and the default runs
in its place; one that had run the default already has done its work. The default of a hook that may run it once only
runs once, whatever the hook does.

Cancellation is whose it is: what cancels the caller passes, and a future that somebody cancelled under the hook is a
failure of the hook as any other.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from gateway_hooks.catalogue import HOOKS, Hook
from gateway_hooks.loading import HookFunction

Result = TypeVar("Result")

QUIET_SECONDS: Final = 10.0
"""Between two lines about the same hook: one that fails on every event must not fill the log."""


class HookUseError(Exception):
    """A hook did something that it must not; the text is the end of a sentence that begins with its name."""


class _Default:
    """The default as a hook sees it."""

    def __init__(self, hook: Hook, function: Callable[..., Awaitable[Any]]) -> None:
        self._hook = hook
        self._function = function
        self.called = False
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
        """What the default itself has raised."""

    async def __call__(self, *arguments: Any) -> Any:
        if self.called and not self._hook.repeatable:
            raise HookUseError("called default twice")
        if len(arguments) != len(self._hook.takes):
            takes = ", ".join(self._hook.takes)
            raise HookUseError(f"called default with {len(arguments)} arguments; write await default({takes})")
        self.called = True
        try:
            self.result = await self._function(*arguments)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.error = error
            raise
        self.done = True
        return self.result


class Hooks:
    """The hooks of one process."""

    def __init__(
        self,
        functions: Mapping[str, HookFunction],
        *,
        context: object,
        log: logging.Logger,
        monotonic: Callable[[], float],
    ) -> None:
        """*context* is what every hook gets first."""
        self._functions = dict(functions)
        self._context = context
        self._log = log
        self._monotonic = monotonic
        self._told: dict[str, float] = {}
        self.errors: Counter[str] = Counter(dict.fromkeys(functions, 0))
        """By hook, how often the default had to take its place."""

    def __contains__(self, name: str) -> bool:
        return name in self._functions

    @property
    def names(self) -> list[str]:
        return list(self._functions)

    async def call(
        self,
        name: str,
        default: Callable[..., Awaitable[Result]],
        *arguments: Any,
        check: Callable[[Any], Result] | None = None,
    ) -> Result:
        """The result of hook *name*, or of *default*.

        *check* makes of what the hook returns what is wanted, or raises :class:`HookUseError`. Raises what the default
        raises, and nothing of the hook's own.
        """
        hook = HOOKS[name]
        once = _Default(hook, default)
        task = asyncio.current_task()
        cancelling = 0 if task is None else task.cancelling()
        try:
            async with asyncio.timeout(hook.seconds):
                result = await self._functions[name](self._context, once, *arguments)
            if hook.followed and not once.called:
                raise HookUseError("has not called default, which then runs by itself")
            if check is not None:
                result = check(result)
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling() > cancelling):
                raise  # the caller is cancelled, and not what the hook waited for
            trouble = None if isinstance(once.error, HookUseError) else once.error
            if trouble is not None and error is trouble:
                raise  # the default's own, which the hook let pass
            self._failed(hook, error)
            if trouble is not None:
                raise trouble from None
            if once.done:
                return once.result  # type: ignore[no-any-return]
            return await default(*arguments)
        return result  # type: ignore[no-any-return]

    def misused(self, name: str, problem: str) -> None:
        """Hook *name* did something that it must not, and what followed was the default's: log and count it."""
        self._failed(HOOKS[name], HookUseError(problem))

    def _failed(self, hook: Hook, error: BaseException) -> None:
        self.errors[hook.name] += 1
        now = self._monotonic()
        if now - self._told.get(hook.name, float("-inf")) < QUIET_SECONDS:
            return
        self._told[hook.name] = now
        if isinstance(error, HookUseError):
            problem = str(error)
        elif isinstance(error, TimeoutError) and not str(error):
            problem = f"took longer than {hook.seconds:g} s" if hook.seconds is not None else "timed out"
        else:
            problem = f"failed ({type(error).__name__}: {error}{_where(error)})"
        self._log.error(
            "Handler %s %s; the default takes its place (%d times so far).",
            hook.name,
            problem,
            self.errors[hook.name],
            extra={"hook": hook.name},
        )


def _where(error: BaseException) -> str:
    """The innermost line of the error's trace."""
    frames = inspect.getinnerframes(error.__traceback__, context=0) if error.__traceback__ is not None else []
    return f", {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
