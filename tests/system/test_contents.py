"""What is delivered under a key that Discord gave to nothing, or to something else, is found."""

from __future__ import annotations

import pytest
from system.contents import altered

from discord_simulator.digests import digest
from discord_simulator.receipts import Delivery, Receipts, Received
from discord_simulator.truth import Counters, EventTruth, SessionTruth, Truth

READY, SNAPSHOT = ("a", 1, "READY", b"1"), ("a", 2, "GUILD_CREATE", b"2")
MESSAGE, REDACTED = ("a", 4, "MESSAGE_CREATE", b'{"id":"1","c":"x"}'), ("a", 4, "MESSAGE_CREATE", b'{"id":"1"}')
TYPING = ("b", 3, "TYPING_START", b'{"timestamp":7,"user_id":"5"}')

Row = tuple[str, int, str, bytes]


def _session(id: str, *, sequences: list[int], events: list[int]) -> SessionTruth:
    return SessionTruth(
        id=id,
        shard=0,
        count=1,
        intents=0,
        created_at=0,
        ended_at=None,
        end=None,
        resumes=0,
        sequences=sequences,
        events=events,
    )


def _truth(*, digests: bool = True) -> Truth:
    """Two events, the second of which both sessions see."""
    bodies = [(digest(MESSAGE[3]), digest(REDACTED[3])), (digest(TYPING[3]), digest(TYPING[3]))]
    return Truth(
        now=0,
        since=0,
        counters=Counters(),
        names=["TYPING_START", "MESSAGE_CREATE"],
        streams=[1],
        events=EventTruth(
            first=11, names=[1, 0], streams=[0, 0], keys=[0, 0], at=[0, 0], digests=bodies if digests else []
        ),
        sessions=[_session("a", sequences=[4, 5], events=[11, 12]), _session("b", sequences=[3], events=[12])],
    )


def _received(*rows: Row) -> Received:
    receipts = Receipts(append=lambda line: None)
    deliveries = [
        Delivery(session=session, sequence=sequence, shard=0, name=name, marked=False, digest=digest(body))
        for session, sequence, name, body in rows
    ]
    receipts.record(deliveries, generation="1", at=0)
    return receipts.received()


@pytest.mark.parametrize(
    "row",
    [READY, SNAPSHOT, MESSAGE, REDACTED, TYPING, ("b", 3, "TYPING_START", b'{"user_id":"5","timestamp":7}')],
    ids=["READY", "a snapshot", "an event", "without content", "in another session", "with its keys in another order"],
)
def test_what_was_sent_may_come(row: Row) -> None:
    assert list(altered(_truth(), _received(READY, row, row), without=frozenset())) == []


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("a", 9, "MESSAGE_CREATE", MESSAGE[3]), "were sent to nobody, such as MESSAGE_CREATE as a:9"),
        (("b", 4, "MESSAGE_CREATE", MESSAGE[3]), "were sent to nobody, such as MESSAGE_CREATE as b:4"),
        (("c", 2, "GUILD_CREATE", SNAPSHOT[3]), "were sent to nobody, such as GUILD_CREATE as c:2"),
        (("", 0, "GUILD_CREATE", SNAPSHOT[3]), "were sent to nobody, such as GUILD_CREATE as :0"),
        (("a", 2, "READY", READY[3]), "were sent to nobody, such as READY as a:2"),
        (("a", 1, "GUILD_CREATE", READY[3]), "were sent to nobody, such as GUILD_CREATE as a:1"),
        (("a", 6, "RESUMED", b"{}"), "were sent to nobody, such as RESUMED as a:6"),
        (
            ("a", 4, "TYPING_START", MESSAGE[3]),
            "have another name, such as TYPING_START as a:4, which is MESSAGE_CREATE",
        ),
        (
            ("a", 4, "GUILD_CREATE", MESSAGE[3]),
            "have another name, such as GUILD_CREATE as a:4, which is MESSAGE_CREATE",
        ),
        (("a", 4, "MESSAGE_CREATE", TYPING[3]), "have another body, such as MESSAGE_CREATE as a:4"),
    ],
    ids=[
        "a sequence that has nothing",
        "another session's sequence",
        "a session that is not known",
        "no session",
        "a READY that is not the first",
        "a first that is no READY",
        "RESUMED",
        "another name",
        "a name of its own",
        "another body",
    ],
)
def test_what_was_not_sent_is_found(row: Row, said: str) -> None:
    found = list(altered(_truth(), _received(READY, row, TYPING), without=frozenset()))
    assert found == [f"what comes is what was sent: 1 {said}"]


def test_what_is_left_out_must_not_come() -> None:
    found = list(altered(_truth(), _received(READY, TYPING, MESSAGE, TYPING), without=frozenset({"TYPING_START"})))
    assert found == [
        "what comes is what was sent: 2 are of names that are left out, such as TYPING_START as b:3",
    ]


def test_without_digests_bodies_are_not_compared() -> None:
    received = _received(("a", 4, "MESSAGE_CREATE", TYPING[3]))
    assert list(altered(_truth(digests=False), received, without=frozenset())) == []
