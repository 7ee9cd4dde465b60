"""Where payloads go that the receiver refuses even alone, for a person to find.

Their lane moves on whatever becomes of them: the folder holds the newest, and one that cannot be written is dropped and
counted by its lane. A payload that nobody takes must not hold up all that come after it.
"""

from __future__ import annotations

import contextlib
import json
from collections import deque
from pathlib import Path
from typing import Final, Protocol

from shard_runtime.delivery.events import Event
from shard_runtime.ports import Disk

REFUSED_TRIES: Final = 5
"""Requests with one payload alone, all refused, before it is given up."""

DEAD_LETTERS_KEPT: Final = 1000
"""In a worker's folder, whoever wrote them; a further one takes the place of the oldest."""

NOT_KEPT: Final = "refused, and no dead letter could be written"
"""Why an event is dropped whose dead letter the disk does not take."""


class DeadLetters(Protocol):
    def keep(self, event: Event, *, status: str) -> None:
        """Keep *event*, which the receiver refused (*status* says how). Raises ``OSError`` where it cannot be kept."""
        ...


class DiskDeadLetters:
    """One durable file for each refused payload, named after its session and sequence."""

    def __init__(self, *, disk: Disk, folder: Path) -> None:
        self._disk = disk
        self._folder = folder
        self._kept: deque[Path] | None = None
        """What is in the folder, the oldest first; None before the first look."""

    def keep(self, event: Event, *, status: str) -> None:
        if self._kept is None:
            self._kept = deque(self._disk.oldest_first(self._folder))
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
        path = self._folder / f"{session[:64]}-{event.sequence}.json"
        self._disk.write(path, letter)
        if path in self._kept:  # refused again after a restart
            self._kept.remove(path)
        self._kept.append(path)
        with contextlib.suppress(OSError):  # the next one tries again
            while len(self._kept) > DEAD_LETTERS_KEPT:
                self._disk.remove(self._kept[0])
                self._kept.popleft()
