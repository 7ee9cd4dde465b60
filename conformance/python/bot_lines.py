"""What every bot of the conformance suite says on its standard output, and hears on its standard input.

One JSON object a line. ``conformance/README.md`` has the format, which bots of all languages share.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any


def arguments() -> dict[str, Any]:
    return json.loads(sys.argv[1])


def say(**line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def say_dispatch(*, bot: int, shard: int | None, name: str, sequence: int | None, data: Any) -> None:
    """Report one dispatch as the library shows it."""
    fields = data if isinstance(data, Mapping) else {}
    say(
        bot=bot,
        shard=shard,
        name=name,
        sequence=sequence,
        session=fields.get("session_id") if name == "READY" else None,
        id=fields.get("id"),
        nonce=fields.get("nonce"),
    )


class _LogLines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f" [{record.exc_info[1]!r}]"
        say(log=text, logger=record.name, level=record.levelname)


def report_logs() -> None:
    """Pass on what the library warns of."""
    handler = _LogLines(level=logging.WARNING)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


async def obey(commands: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """Hand every line of the standard input to *commands*, until it ends; what is not done by then is given up."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    running = set()
    while line := await reader.readline():
        running.add(asyncio.create_task(commands(json.loads(line))))
    for task in running:
        task.cancel()
    for result in await asyncio.gather(*running, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
