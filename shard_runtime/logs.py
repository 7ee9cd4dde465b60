"""One JSON object per line on stderr, and a last guard that no token ever gets into one.

The code takes care not to log secrets; the guard is for what the code does not foresee, such as an exception's text of
a library that quotes a header. It works on the finished line, so nothing can be formatted past it.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Protocol, TextIO

SHORTEST_SECRET: Final = 6
"""Shorter texts are not replaced: they would turn ordinary words into stars and protect nothing."""

SECRETS_KEPT: Final = 64
"""Old tokens stay guarded after a rotation, the newest this many."""

_OWN_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Redaction:
    """Knows the secrets of the process and takes them out of texts."""

    def __init__(self) -> None:
        self._secrets: dict[str, None] = {}

    def learn(self, *secrets: str | None) -> None:
        """Guard these from now on."""
        for secret in secrets:
            if secret is None or len(secret) < SHORTEST_SECRET:
                continue
            for form in (secret, json.dumps(secret)[1:-1]):
                self._secrets.pop(form, None)
                self._secrets[form] = None
        while len(self._secrets) > SECRETS_KEPT:
            del self._secrets[next(iter(self._secrets))]

    def clean(self, text: str) -> str:
        """*text* with every known secret replaced."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "[redacted]")
        return text


class JsonLines(logging.Formatter):
    """Formats a record, with its ``extra`` fields, as one JSON object without line breaks."""

    def __init__(self, *, redaction: Redaction, fields: Mapping[str, object]) -> None:
        super().__init__()
        self._redaction = redaction
        self._fields = dict(fields)

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "logger": record.name,
            **self._fields,
        }
        line.update((name, value) for name, value in vars(record).items() if name not in _OWN_FIELDS)
        if record.exc_info is not None and record.exc_info[0] is not None:
            line["trace"] = self.formatException(record.exc_info)
        return self._redaction.clean(json.dumps(line, default=str))


def configure_logging(
    *, level: str, redaction: Redaction, fields: Mapping[str, object], stream: TextIO | None = None
) -> logging.Logger:
    """Send the process's logs as JSON lines to *stream* (stderr), and give the runtime's logger.

    *fields* (pod, generation, worker) are part of every line.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines(redaction=redaction, fields=fields))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # what libraries tell below that is not for the person who runs a gateway
    logger = logging.getLogger("shard_runtime")
    logger.setLevel(level.upper())
    return logger


def guard_crashes(redaction: Redaction) -> None:
    """What the process says when it dies goes past no log, so the guard stands there too; and it leaves no core.

    A core has the process's memory with every token in it, and lands wherever the node writes cores.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def report(
        kind: type[BaseException], error: BaseException | None, trace: TracebackType | None, /, where: str = ""
    ) -> None:
        print(redaction.clean(where + "".join(traceback.format_exception(kind, error, trace))), file=sys.stderr, end="")

    def of_thread(failed: threading.ExceptHookArgs, /) -> None:
        name = "" if failed.thread is None else failed.thread.name
        report(failed.exc_type, failed.exc_value, failed.exc_traceback, where=f"In thread {name}: ")

    sys.excepthook = report
    threading.excepthook = of_thread


class EventLog(Protocol):
    """How a shard logs: the name of what happened, and its fields."""

    def __call__(self, event: str, /, **fields: object) -> None: ...


LOUD: Final = frozenset({"connect_failed", "shard_failed", "session_lost", "frame_unreadable", "closed"})
"""Events of a shard that a person may want to see at the level of warnings."""


def event_log(log: logging.Logger) -> EventLog:
    """*log* for code that logs names and fields instead of sentences."""

    def write(event: str, /, **fields: object) -> None:
        level = logging.WARNING if event in LOUD else logging.INFO
        if log.isEnabledFor(level):
            log.log(level, "%s", event.replace("_", " "), extra={_field(name): value for name, value in fields.items()})

    return write


def _field(name: str) -> str:
    # ``extra`` must not shadow what a record has of its own
    return f"{name}_" if name in _OWN_FIELDS else name
