"""What must hold of every run, whatever happened in it, as far as the faults allow."""

from __future__ import annotations

from collections import defaultdict

from discord_simulator.receipts import Received
from discord_simulator.truth import Truth


def unexplained_duplicates(truth: Truth, received: Received) -> int:
    """Deliveries of an event that came before, without an excuse: neither with a key that came before (a redelivery,
    which a receiver that commits keys does not see) nor marked, now or then."""
    event_of = {
        (session.id, sequence): event
        for session in truth.sessions
        for sequence, event in zip(session.sequences, session.events, strict=True)
    }
    marked = set(received.marked)
    keys: dict[int, set[tuple[str, int]]] = defaultdict(set)
    marked_events: set[int] = set()
    unexplained = 0
    for position, (session, sequence) in enumerate(zip(received.session, received.sequence, strict=True)):
        key = (received.sessions[session], sequence)
        event = event_of.get(key)
        if event is None:
            continue
        if position in marked:
            marked_events.add(event)
        unexplained += bool(keys[event]) and key not in keys[event] and event not in marked_events
        keys[event].add(key)
    return unexplained
