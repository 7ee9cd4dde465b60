"""``python -m discord_simulator.receiver``: a bot's HTTP endpoint that remembers what it acknowledged.

For demos and tests: it can be slowed, made to fail or to hang, stopped and started again with its memory kept in a log.
On SIGTERM it stops listening and finishes the requests in flight, so nothing is recorded that was not answered.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web

from discord_simulator.inbox import Inbox
from discord_simulator.receipts import Receipts
from discord_simulator.server import read_request, response

_LARGEST_REQUEST: Final = 64 << 20
_STOP_SECONDS: Final = 10.0


class AppendedLog:
    """A file that lines are added to; each is handed to the operating system before ``append`` returns."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        end = os.lseek(self._file, 0, os.SEEK_END)
        self._torn = end > 0 and os.pread(self._file, 1, end - 1) != b"\n"

    def append(self, line: bytes) -> None:
        """Raises ``OSError``, also when the disk took only a part of *line*."""
        if self._torn:
            line = b"\n" + line
        written = os.write(self._file, line)
        self._torn = written != len(line)
        if self._torn:
            raise OSError("the receiver's log was cut short")

    def close(self) -> None:
        os.close(self._file)


class Receiver:
    def __init__(self, *, inbox: Inbox) -> None:
        self._inbox = inbox
        self._stopping = asyncio.Event()

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_LARGEST_REQUEST)
        app.router.add_route("*", "/{path:.*}", self._serve)
        app.on_shutdown.append(self._shut_down)
        return app

    async def _shut_down(self, app: web.Application) -> None:
        del app
        self._stopping.set()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/healthz":
            return web.Response(text="ok")
        received = await read_request(request)
        if request.path.startswith("/control/"):
            return response(self._inbox.control(received))
        if request.method != "POST":
            return web.Response(status=405, text="Deliveries are POST requests.")
        planned = self._inbox.arrived(received)
        if planned.hangs:
            await self._stopping.wait()
        else:
            await asyncio.sleep(planned.after_seconds)
        transport = request.transport
        answerable = not planned.hangs and transport is not None and not transport.is_closing()
        answer = self._inbox.finish(received, planned, answerable=answerable)
        if not answerable and transport is not None:
            transport.abort()
        return response(answer)


@asynccontextmanager
async def run_receiver(*, log: Path, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[tuple[Inbox, int]]:
    """Run a receiver on the current loop; gives its inbox and its port (a free one for 0)."""
    file = AppendedLog(log)
    receipts = Receipts(append=file.append)
    with log.open("rb") as lines:
        receipts.read_back(lines)
    inbox = Inbox(receipts=receipts, unix_milliseconds=lambda: round(time.time() * 1000))
    runner = web.AppRunner(Receiver(inbox=inbox).application(), access_log=None, shutdown_timeout=_STOP_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield inbox, runner.addresses[0][1]
    finally:
        await runner.cleanup()
        file.close()


async def _run(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with run_receiver(log=arguments.log, host=arguments.host, port=arguments.port) as (_, port):
        print(f"receiver listens on http://{arguments.host}:{port}/events", flush=True)
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m discord_simulator.receiver", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port to listen on; 0 picks a free one and prints it")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--log", type=Path, required=True, help="file that remembers what was acknowledged")
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
