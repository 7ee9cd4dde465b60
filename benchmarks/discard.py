"""Reads and discards: the least that a Python program with picows can do with the generator's frames.

``python discard.py URL SHARDS EVENTS [COMPRESSION]`` identifies on all shards, reads EVENTS frames, and with
COMPRESSION undoes it. It prints a line when it is ready, and when it has seen everything the CPU seconds between.
What the runtime does besides, it does not: nothing is parsed, kept or forwarded.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from shard_runtime.connection.inflate import new_inflate

BEFORE = 2
"""HELLO and READY."""


class Frames(WSListener):
    def __init__(self, shard: int, shards: int, inflate: str | None, progress: Progress) -> None:
        self._identify = json.dumps({"op": 2, "d": {"token": "t", "intents": 1, "shard": [shard, shards]}}).encode()
        self._inflate = new_inflate(inflate) if inflate else None
        self._progress = progress

    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, self._identify)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if self._inflate is not None:
            self._inflate.one(frame.get_payload_as_bytes())
        progress = self._progress
        progress.frames += 1
        if progress.frames >= progress.next:
            progress.reached()


class Progress:
    def __init__(self, shards: int, events: int) -> None:
        self.frames = 0
        self.next = shards * BEFORE
        self._all = self.next + events
        self._began = 0.0
        self.done = asyncio.Event()

    def reached(self) -> None:
        if self.next < self._all:
            self.next = self._all
            print("ready", flush=True)
            self._began = time.process_time()
        else:
            print(time.process_time() - self._began, flush=True)
            self.done.set()


async def main(url: str, shards: int, events: int, inflate: str | None) -> None:
    progress = Progress(shards, events)
    for shard in range(shards):
        frames = Frames(shard, shards, inflate, progress)
        await ws_connect(lambda: frames, url, use_aiofastnet=False)  # noqa: B023 — called before the next turn
    async with asyncio.timeout(60):
        await progress.done.wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else None))
