"""The hook ``log``: each line of the process's log on its way to stderr.

A line is formatted and its secrets are taken out before the hook sees it, and once more after. Logging itself is
synchronous, so lines wait for the hook, a bounded number of them; what has no room, what comes before the hook runs or
after its end, and what the hook itself logs, goes to stderr as without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway_hooks import Hooks
from shard_runtime.logs import Redaction

NAME: Final = "log"
MOST_LINES: Final = 1000

_in_hook: contextvars.ContextVar[bool] = contextvars.ContextVar("in the log hook", default=False)


class HookedLines(logging.Handler):
    """Stands before *handler*, which knows how a line is formatted; *write* takes a whole line."""

    def __init__(self, hooks: Hooks, handler: logging.Handler, write: Callable[[str], None]) -> None:
        super().__init__()
        self._hooks = hooks
        self._handler = handler
        self._write = write
        self._lines: deque[str] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()

    @classmethod
    def install(cls, hooks: Hooks, redaction: Redaction) -> HookedLines:
        """Take the place of the process's handler, which :func:`~shard_runtime.logs.configure_logging` has made."""
        root = logging.getLogger()
        (handler,) = root.handlers
        assert isinstance(handler, logging.StreamHandler)
        stream = handler.stream
        lines = cls(hooks, handler, lambda text: print(redaction.clean(text), file=stream, flush=True))
        root.handlers[:] = [lines]
        return lines

    def emit(self, record: logging.LogRecord) -> None:
        """May be called from any thread."""
        loop = self._loop
        if loop is None or len(self._lines) >= MOST_LINES or _in_hook.get():
            self._handler.handle(record)
            return
        self._lines.append(self._handler.format(record))
        with contextlib.suppress(RuntimeError):  # the loop is closed: run() has written what was left
            loop.call_soon_threadsafe(self._news.set)

    async def run(self) -> None:
        """Let the hook have lines until cancelled."""
        self._loop = asyncio.get_running_loop()
        _in_hook.set(True)
        try:
            while True:
                while self._lines:
                    await self._hooks.call(NAME, self._default, json.loads(self._lines[0]))
                    self._lines.popleft()  # only now: a line that is in the hook's hands at the end is not lost
                self._news.clear()
                await self._news.wait()
        finally:
            self._loop = None
            while self._lines:
                self._write(self._lines.popleft())

    async def _default(self, line: Mapping[str, Any]) -> None:
        self._write(json.dumps(line, default=str))
