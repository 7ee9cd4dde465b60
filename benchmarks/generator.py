"""A gateway that only sends: the load of the benchmarks, meant never to be their bottleneck.

Run as a process; it prints one JSON object a line: first its port and what it made, then the answers to the commands
that it reads from stdin: ``ready`` (how many shards are identified), ``burst`` (all that was made beforehand, or the
first so many events of each shard, at full speed), ``steady RATE SECONDS`` (at random moments, each payload with the
time of its sending in ``nonce``).

A connection is HELLO, IDENTIFY, READY; nothing else that a client sends is looked at. The few REST calls that clients
make before they connect are answered on the same port.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import os
import random
import re
import socket
import sys
import threading
import time
from typing import Final, cast

import msgspec
import uvloop
from streams import Stream

from discord_simulator.guilds import application_body, own_user_body

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SHARD: Final = re.compile(rb'"shard":\s*\[\s*(\d+)')


def unmasked(frame: bytes) -> tuple[bytes, bytes] | None:
    """The payload of the first masked frame in *frame*, and what follows it; None while it is not whole."""
    if len(frame) < 6:
        return None
    size, at = frame[1] & 127, 2
    if size == 126:
        size, at = int.from_bytes(frame[2:4], "big"), 4
    if len(frame) < at + 4 + size:
        return None
    mask, at = frame[at : at + 4], at + 4
    payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(frame[at : at + size]))
    return payload, frame[at + size :]


class Generator:
    def __init__(self, *, shards: int, compression: str, events: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"ws://127.0.0.1:{self.listener.getsockname()[1]}"
        self._shards = shards
        self._compression = compression
        self._events = events
        self.streams = [self._stream(shard) for shard in range(shards)]
        self.identified: dict[int, Connection] = {}

    def _stream(self, shard: int) -> Stream:
        return Stream(
            shard=shard, shards=self._shards, compression=self._compression, events=self._events, resume_url=self.url
        )

    def rest(self, path: str) -> bytes:
        """The answer to a GET."""
        if path.endswith("/gateway/bot"):
            limit = {"total": 1000, "remaining": 1000, "reset_after": 86_400_000, "max_concurrency": self._shards}
            return json.dumps({"url": self.url, "shards": self._shards, "session_start_limit": limit}).encode()
        return msgspec.json.encode(application_body(1) if path.endswith("/applications/@me") else own_user_body(1))

    def burst(self, events: int) -> None:
        for shard, connection in self.identified.items():
            connection.transport.write(self.streams[shard].first(events))

    def steady(self, rate: float, seconds: float) -> int:
        """Send at *rate* events a second in all for *seconds*, at random moments; how many were sent.

        The streams are those of fresh connections, and of no use for a burst afterwards.
        """
        chance = random.Random(1)
        targets = [(connection.socket, self.streams[shard]) for shard, connection in self.identified.items()]
        sent, due = 0, time.monotonic()
        end = due + seconds
        while due < end:
            due += chance.expovariate(rate)
            while (wait := due - time.monotonic()) > 0:
                time.sleep(wait)
            target, stream = chance.choice(targets)
            target.send(stream.frame(stream.dispatches.next(time.monotonic_ns())))
            sent += 1
        return sent


class Connection(asyncio.Protocol):
    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._received = b""
        self._open = False
        self._shard: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        # uvloop's own object for it does not send
        self.socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, error: Exception | None) -> None:
        self.socket.close()
        if self._shard is not None and self._generator.identified.get(self._shard) is self:
            del self._generator.identified[self._shard]

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._open:
            self._shake_hands()
        while self._open and (found := unmasked(self._received)) is not None:
            payload, self._received = found
            shard = _SHARD.search(payload)  # only IDENTIFY has one
            if shard is not None:
                self._shard = int(shard[1])
                self._generator.identified[self._shard] = self
                self.transport.write(self._generator.streams[self._shard].ready)

    def _shake_hands(self) -> None:
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        self._received = rest
        key = re.search(rb"(?i)sec-websocket-key:\s*(\S+)", head)
        if key is None:
            body = self._generator.rest(head.split(b" ", 2)[1].decode())
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            return
        self._open = True
        accept = base64.b64encode(hashlib.sha1(key[1] + _GUID).digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        # the same for all shards, since nobody has said yet which one this is
        self.transport.write(self._generator.streams[0].hello)


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


async def main(arguments: argparse.Namespace) -> None:
    generator = Generator(shards=arguments.shards, compression=arguments.compression, events=arguments.events)
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Connection(generator), sock=generator.listener)
    events = max(1, arguments.events * arguments.shards)
    say(
        url=generator.url,
        payload_bytes=sum(stream.payload_bytes for stream in generator.streams) / events,
        wire_bytes=sum(len(stream.burst) for stream in generator.streams) / events,
        body_bytes=sum(stream.payload_bytes for stream in generator.streams),
    )
    commands: asyncio.Queue[str] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(commands.put_nowait, line)
        loop.call_soon_threadsafe(commands.put_nowait, "")

    threading.Thread(target=read, daemon=True).start()
    while words := (await commands.get()).split():
        if words[0] == "burst":
            generator.burst(int(words[1]) if len(words) > 1 else arguments.events)
            say(burst=True)
        elif words[0] == "steady":
            say(sent=await asyncio.to_thread(generator.steady, float(words[1]), float(words[2])))
        else:
            say(ready=len(generator.identified))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--compression", default="none")
    parser.add_argument("--events", type=int, default=0, help="made beforehand for each shard")
    uvloop.run(main(parser.parse_args()))
