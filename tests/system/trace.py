"""What happened in a run, in order, with virtual times: for a person to read, and as a digest to compare runs by.

Everything that a run does ends here or in the digest: what the parts log, what the receiver acknowledged and when. Two
runs of one seed must have one digest, or a failure could not be replayed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b


class Trace:
    """To be made inside the virtual loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._digest = blake2b(digest_size=16)
        self.lines: list[str] = []
        self.failures: list[str] = []
        """What must never happen, whatever the faults: a part that ended by an exception of its own."""

    def note(self, who: str, what: str) -> None:
        """Something that a reader of the run wants to see."""
        line = f"{self._loop.time():9.3f}  {who:<14} {what}"
        self.lines.append(line)
        self.record(line.encode())

    def record(self, data: bytes) -> None:
        """Something that is part of the digest only."""
        self._digest.update(data)

    def fail(self, who: str, what: str) -> None:
        self.failures.append(f"{who}: {what}")
        self.note(who, f"FAILED: {what}")

    def digest(self) -> str:
        return self._digest.hexdigest()

    def logger(self, who: str, *, alive: Callable[[], bool]) -> logging.Logger:
        """A logger of one process; what a dead process logs is not heard."""
        logger = logging.Logger(who, level=logging.INFO)
        logger.addHandler(_Notes(self, who, alive))
        return logger

    @contextmanager
    def hears(self, name: str, *, who: str) -> Iterator[None]:
        """Take in what the module loggers below *name* log."""
        logger, handler = logging.getLogger(name), _Notes(self, who, lambda: True)
        level, propagate = logger.level, logger.propagate
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


class _Notes(logging.Handler):
    def __init__(self, trace: Trace, who: str, alive: Callable[[], bool]) -> None:
        super().__init__()
        self._trace = trace
        self._who = who
        self._alive = alive

    def emit(self, record: logging.LogRecord) -> None:
        if not self._alive():
            return
        fields = {name: record.__dict__[name] for name in ("shard", "session", "code", "error") if name in vars(record)}
        details = "".join(f" {name}={value}" for name, value in fields.items())
        self._trace.note(self._who, f"{record.getMessage()}{details}")
        if record.exc_info is not None and record.exc_info[1] is not None:
            self._trace.fail(self._who, repr(record.exc_info[1]))
