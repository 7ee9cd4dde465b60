"""Logs of the operator process: one JSON object a line, whatever library it comes from, and none with a token in it.

The code takes care not to log tokens; what is done here is a last guard, for what libraries quote. It knows tokens by
what they look like and works on the finished line, so nothing can be formatted past it.
"""

from __future__ import annotations

import logging
import re
import resource
import sys
from types import TracebackType
from typing import Any, Final

import structlog

LEVELS: Final = ("debug", "info", "warning", "error")
_CHATTY: Final = ("kubernetes", "urllib3", "asyncio", "aiohttp.access")
"""At debug these print whole requests, headers included."""


_TOKENS: Final = re.compile(
    r"""(?P<scheme>\b(?:Bot|Bearer|Basic)\ +)[A-Za-z0-9._~+/=-]{20,}  # of an authorization header
    | \b[A-Za-z0-9_-]{18,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{25,}  # a bot's token, wherever it stands
    """,
    re.VERBOSE | re.IGNORECASE,
)


def redacted(text: str) -> str:
    """*text* without what looks like a token."""
    return _TOKENS.sub(lambda found: (found["scheme"] or "") + "[redacted]", text)


def _redacted(_logger: Any, _method: str, line: Any) -> str:
    return redacted(str(line))  # what the renderer before made, which structlog's types do not know


def _last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("gateway_operator").critical("the operator ends: %s", error, exc_info=(kind, error, trace))


def configure(level: str) -> None:
    """Send all logs of at least *level* (one of :data:`LEVELS`) to standard error."""
    before: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=before,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
            _redacted,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    sys.excepthook = _last_words
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core has the process's memory, with every token in it
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
