"""Whether what came is what was sent: the bot's receipts against Discord's truth, payload by payload.

A payload is told by its session and its sequence, and everything else that is judged goes by that key alone. So here is
looked at what comes under a key: whether Discord ever gave it out, and whether name and body are those of its event.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from discord_simulator.receipts import Received
from discord_simulator.truth import Truth

OWN: Final = frozenset({"READY", "GUILD_CREATE", "GUILD_DELETE"})
"""What a session is sent for itself, with sequences of which the truth does not tell: its beginning and the first
states of its guilds. RESUMED is one more, and is never delivered; nobody here asks for what Discord replies to."""


def altered(truth: Truth, received: Received, *, without: frozenset[str]) -> Iterator[str]:
    """One sentence for each way in which deliveries are not what was sent. *without* are names that nobody wants.

    Bodies are compared where both sides have digests of them.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for way, delivery in _altered(truth, received, without):
        found[way].append(delivery)
    for way, deliveries in found.items():
        yield f"what comes is what was sent: {len(deliveries)} {way}, such as {deliveries[0]}"


def _altered(truth: Truth, received: Received, without: frozenset[str]) -> Iterator[tuple[str, str]]:
    events = truth.events
    event_of = truth.event_of()
    known = {session.id for session in truth.sessions}
    compared = bool(events.digests and received.digests)
    for row, (session_index, sequence, name_index) in enumerate(
        zip(received.session, received.sequence, received.name, strict=True)
    ):
        session, name = received.sessions[session_index], received.names[name_index]
        delivery = f"{name} as {session}:{sequence}"
        if name in without:
            yield "are of names that are left out", delivery
        event = event_of.get((session, sequence))
        if event is None:
            if session not in known or name not in OWN or sequence < 1 or (name == "READY") != (sequence == 1):
                yield "were sent to nobody", delivery
        elif truth.name_of(event) != name:
            yield "have another name", f"{delivery}, which is {truth.name_of(event)}"
        elif compared and received.digests[row] not in events.digests[event - events.first]:
            yield "have another body", delivery
