"""Where payloads go that the receiver refuses even alone.

A payload leaves its lane this way only once it is kept somewhere a person finds it. Where that cannot be done, the lane
goes on asking: waiting loses nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Protocol

from shard_runtime.delivery.events import Event
from shard_runtime.ports import Disk

REFUSED_TRIES: Final = 5
"""Requests with one payload alone, all refused, before it is given up."""

DEAD_LETTERS_KEPT: Final = 1000
"""Of one process's life. A receiver that refuses more than this is broken, and its lanes wait for it."""


class DeadLetters(Protocol):
    def keep(self, event: Event, *, status: str) -> bool:
        """Keep *event*, which the receiver refused (*status* says how); False if that is not possible."""
        ...


class NoDeadLetters:
    """Keeps nothing, so refused payloads are tried until they are taken."""

    def keep(self, event: Event, *, status: str) -> bool:
        return False


class DiskDeadLetters:
    """One durable file for each refused payload, named after its session and sequence."""

    def __init__(self, *, disk: Disk, folder: Path) -> None:
        self._disk = disk
        self._folder = folder
        self._kept = 0

    def keep(self, event: Event, *, status: str) -> bool:
        if self._kept >= DEAD_LETTERS_KEPT:
            return False
        # a session id comes from the network and becomes a file's name
        session = "".join(letter for letter in event.session.id if letter.isascii() and letter.isalnum())
        head = {
            "shard": event.session.shard,
            "session": event.session.id,
            "sequence": event.sequence,
            "name": event.name,
            "status": status,
        }
        letter = json.dumps(head).encode()[:-1] + b', "payload": ' + event.payload + b"}\n"
        try:
            self._disk.write(self._folder / f"{session[:64]}-{event.sequence}.json", letter)
        except OSError:
            return False
        self._kept += 1
        return True
