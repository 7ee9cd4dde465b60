"""All living sessions, found by id and by what they see.

``count`` is the routing function of one session alone: sessions of different counts live side by side, each gets every
event that its own formula matches, and nothing at Discord knows of generations. Source: docs/protocol.md, "Sharding".
"""

from __future__ import annotations

from collections.abc import Iterator

from discord_simulator.sessions import Session


class SessionStore:
    def __init__(self) -> None:
        self._by_id: dict[str, Session] = {}
        self._routes: dict[int, dict[int, list[Session]]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, id: str) -> Session | None:
        return self._by_id.get(id)

    def all(self) -> list[Session]:
        return list(self._by_id.values())

    def add(self, session: Session) -> None:
        self._by_id[session.id] = session
        self._routes.setdefault(session.count, {}).setdefault(session.shard, []).append(session)

    def remove(self, session: Session) -> None:
        del self._by_id[session.id]
        shards = self._routes[session.count]
        shards[session.shard].remove(session)
        if not shards[session.shard]:
            del shards[session.shard]
        if not shards:
            del self._routes[session.count]

    def seeing(self, guild: int) -> Iterator[Session]:
        """Sessions that events of *guild* are routed to; 0 stands for events without a guild, which go to shard 0."""
        timestamp = guild >> 22
        for count, shards in self._routes.items():
            yield from shards.get(timestamp % count, ())
