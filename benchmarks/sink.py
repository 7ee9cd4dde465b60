"""The receiver of the benchmarks: reads requests, counts, answers 204.

Run as a process; it prints its URL, then answers commands from stdin with one JSON object a line: ``count``,
``latencies`` (those since the last time, from ``nonce`` to the answer, in milliseconds), ``stall`` (answer no more).
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
import threading
import time
from typing import Final, cast

import uvloop

_NUMBERS: Final = re.compile(rb"(?i)\r\n(content-length|x-gateway-events):[ \t]*(\d+)")
_SENT_AT: Final = re.compile(rb'"nonce":"(\d{19})"')
_ANSWER: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
_FIRST_ROOM: Final = 64 << 10
_ROOM: Final = 16 << 20


class Counts:
    def __init__(self, *, timed: bool) -> None:
        self.timed = timed
        self.stalled = False
        self.requests = 0
        self.events = 0
        self.bytes = 0
        self.latencies: list[float] = []


class Requests(asyncio.BufferedProtocol):
    """One connection. A body is only walked through when latencies are wanted."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._buffer = bytearray(_FIRST_ROOM)
        self._most = _ROOM if counts.timed else 1 << 20
        self._end = 0
        self._skip = 0
        self._events = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        self._end += nbytes
        at = 0
        while at < self._end:
            if self._skip:
                taken = min(self._skip, self._end - at)
                at += taken
                self._skip -= taken
                if not self._skip:
                    self._answer()
                continue
            head_end = self._buffer.find(b"\r\n\r\n", at, self._end) + 4
            if head_end < 4:
                break
            numbers = {name.lower(): int(value) for name, value in _NUMBERS.findall(self._buffer[at:head_end])}
            length = numbers[b"content-length"]
            if self._counts.timed and head_end + length > self._end:
                break
            self._events = numbers[b"x-gateway-events"]
            self._counts.bytes += length
            if self._counts.timed:
                self._answer()
                now = time.monotonic_ns()
                body = self._buffer[head_end : head_end + length]
                self._counts.latencies += [(now - int(sent)) / 1e6 for sent in _SENT_AT.findall(body)]
                at = head_end + length
            else:
                at = head_end
                self._skip = length
        rest = self._end - at
        if self._end == len(self._buffer) < self._most:
            self._buffer = self._buffer[at:] + bytes(2 * len(self._buffer) - rest)
        elif rest and at:
            self._buffer[:rest] = self._buffer[at : self._end]
        self._end = rest

    def _answer(self) -> None:
        if not self._counts.stalled:
            self._counts.requests += 1
            self._counts.events += self._events
            self._transport.write(_ANSWER)


async def main(*, timed: bool) -> None:
    loop = asyncio.get_running_loop()
    counts = Counts(timed=timed)
    server = await loop.create_server(lambda: Requests(counts), "127.0.0.1", 0)
    commands: asyncio.Queue[str] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(commands.put_nowait, line.strip())
        loop.call_soon_threadsafe(commands.put_nowait, "")

    threading.Thread(target=read, daemon=True).start()
    print(json.dumps({"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/events"}), flush=True)
    while command := await commands.get():
        if command == "latencies":
            answer: dict[str, object] = {"milliseconds": counts.latencies}
            counts.latencies = []
        else:
            counts.stalled |= command == "stall"
            answer = {"requests": counts.requests, "events": counts.events, "bytes": counts.bytes}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(main(timed="--timed" in sys.argv))
