"""The verdict sees every kind of loss, double and disorder, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from discord_simulator.receipts import Delivery, Receipts
from discord_simulator.truth import Counters, EventTruth, SessionTruth, Truth
from discord_simulator.verdict import judge

# Four events: 1 and 2 in guild 10, 3 in guild 20, 4 in guild 10 with the same body as 2.
NAMES = ["MESSAGE_CREATE", "WEBHOOKS_UPDATE"]
OLD, NEW = "old", "new"


def _session(id: str, count: int, pairs: dict[int, int], end: str | None = None) -> SessionTruth:
    return SessionTruth(
        id=id,
        shard=0,
        count=count,
        intents=1,
        created_at=0,
        ended_at=None if end is None else 5,
        end=end,
        resumes=0,
        sequences=list(pairs),
        events=list(pairs.values()),
    )


def _truth(old: dict[int, int], new: dict[int, int] | None = None, *, end: str | None = None) -> Truth:
    return Truth(
        now=9,
        since=0,
        counters=Counters(),
        names=NAMES,
        streams=[10, 20],
        events=EventTruth(first=1, names=[0, 1, 0, 1], streams=[0, 0, 1, 0], keys=[0, 77, 0, 77], at=[1, 2, 3, 4]),
        sessions=[_session(OLD, 4, old, end), _session(NEW, 8, new or {})],
    )


def _received(*deliveries: tuple[Any, ...]) -> Any:
    receipts = Receipts(append=lambda line: None)
    for session, sequence, *marked in deliveries:
        delivery = Delivery(session=session, sequence=sequence, shard=0, name="X", marked=bool(marked))
        receipts.record([delivery], generation="1", at=0)
    return receipts.received()


ALL_OF_OLD = {2: 1, 3: 2, 4: 3, 5: 4}


@pytest.mark.parametrize(
    ("truth", "received", "expected"),
    [
        pytest.param(
            _truth(ALL_OF_OLD),
            _received((OLD, 2), (OLD, 3), (OLD, 4), (OLD, 5)),
            {"sent": 4, "delivered": 4},
            id="all delivered",
        ),
        pytest.param(
            _truth(ALL_OF_OLD),
            _received((OLD, 2), (OLD, 3), (OLD, 4), (OLD, 3)),
            {"sent": 4, "delivered": 3, "lost": 1, "lost_by_key": 1, "duplicated": 1, "redelivered": 1}
            | {"duplicated_unmarked": 1},
            id="a redelivery makes up for no other event with an equal body",
        ),
        pytest.param(
            _truth(ALL_OF_OLD),
            _received((OLD, 1), (OLD, 2), (OLD, 3), (OLD, 4), (OLD, 5), ("unknown", 3)),
            {"sent": 4, "delivered": 4, "uncounted": 2},
            id="READY and strangers are not counted",
        ),
        pytest.param(
            _truth({2: 1, 3: 2, 4: 1}, {6: 1}),
            _received((OLD, 2), (OLD, 3), (OLD, 4), (NEW, 6), (OLD, 4)),
            {
                "sent": 2,
                "delivered": 2,
                "duplicated": 3,
                "duplicated_unmarked": 3,
                "redelivered": 1,
                "duplicated_at_source": 1,
                "duplicated_by_key": 3,
                "unmarked_by_key": 3,
            },
            id="Discord's own doubles, another session's and the same again are told apart",
        ),
        pytest.param(
            _truth(ALL_OF_OLD, end="expired"),
            _received((OLD, 2), (OLD, 3), (OLD, 5)),
            {"sent": 4, "delivered": 3, "lost": 1, "lost_by_key": 1},
            id="an event of an ended session is lost",
        ),
        pytest.param(
            _truth({2: 1, 3: 2}, {7: 2, 8: 3, 9: 4}),
            _received((OLD, 2), (OLD, 3), (NEW, 8), (NEW, 9)),
            {"sent": 4, "delivered": 4},
            id="an exact cutover",
        ),
        pytest.param(
            _truth({2: 1, 3: 2}, {7: 2, 8: 3, 9: 4}),
            _received((OLD, 2), (OLD, 3), (NEW, 7), (NEW, 8), (NEW, 9)),
            {
                "sent": 4,
                "delivered": 4,
                "duplicated": 1,
                "duplicated_unmarked": 1,
                "duplicated_by_key": 1,
                "unmarked_by_key": 1,
            },
            id="a double over two sessions",
        ),
        pytest.param(
            _truth({2: 1, 3: 2}, {7: 2, 8: 3, 9: 4}),
            _received((OLD, 2), (OLD, 3), (NEW, 7, "marked"), (NEW, 8), (NEW, 9)),
            {"sent": 4, "delivered": 4, "duplicated": 1, "duplicated_by_key": 1},
            id="a marked double",
        ),
        pytest.param(
            _truth(ALL_OF_OLD),
            _received((OLD, 2), (OLD, 3), (OLD, 4), (OLD, 5), (OLD, 5), (OLD, 5)),
            {
                "sent": 4,
                "delivered": 4,
                "duplicated": 2,
                "duplicated_unmarked": 2,
                "redelivered": 2,
                "duplicated_by_key": 2,
                "unmarked_by_key": 2,
            },
            id="redeliveries have the same key",
        ),
        pytest.param(
            _truth(ALL_OF_OLD),
            _received((OLD, 2), (OLD, 4), (OLD, 3), (OLD, 5)),
            {"sent": 4, "delivered": 4, "lane_violations": 1},
            id="a lane out of order, its guilds in order",
        ),
        pytest.param(
            _truth(ALL_OF_OLD, {7: 1, 8: 2, 9: 4}),
            _received((NEW, 8), (OLD, 2), (OLD, 4), (NEW, 9)),
            {"sent": 4, "delivered": 4, "stream_violations": 1},
            id="a guild out of order over two sessions",
        ),
        pytest.param(
            _truth(ALL_OF_OLD, {7: 2, 8: 4}),
            _received((OLD, 2), (OLD, 3), (NEW, 7), (OLD, 4)),
            {"sent": 4, "delivered": 3, "lost": 1, "duplicated": 1, "duplicated_unmarked": 1},
            id="one of two equal events twice and the other never: a loss and a double by number, neither by key",
        ),
    ],
)
def test_verdict(truth, received, expected):
    verdict = judge(truth, received)
    counts = {name: getattr(verdict, name) for name in verdict.__struct_fields__ if not name.endswith("examples")}
    assert counts == dict.fromkeys(counts, 0) | expected


def test_sessions_and_names_can_be_left_out():
    truth = _truth(ALL_OF_OLD, {7: 2})
    received = _received((OLD, 2), (NEW, 7))
    only_new = judge(truth, received, include=lambda session: session.count == 8)
    assert (only_new.sent, only_new.delivered, only_new.uncounted) == (1, 1, 1)
    messages = judge(truth, received, without=frozenset({"WEBHOOKS_UPDATE"}))
    assert (messages.sent, messages.delivered, messages.lost) == (2, 1, 1)


def test_examples_say_where_an_event_went():
    verdict = judge(_truth(ALL_OF_OLD, {7: 2}), _received((OLD, 2), (OLD, 3), (NEW, 7), (OLD, 5)))
    (lost,) = verdict.lost_examples
    assert (lost.event, lost.name, lost.stream, lost.at, lost.seen) == (3, "MESSAGE_CREATE", 20, 3, [(OLD, 4)])
    (double,) = verdict.duplicated_examples
    assert double.deliveries == [(OLD, 3), (NEW, 7)]
