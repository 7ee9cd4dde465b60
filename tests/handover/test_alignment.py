"""The table of the plain alignment, row by row."""

from __future__ import annotations

import pytest

from shard_runtime.contract import WindowEvent
from shard_runtime.handover.alignment import Arrived, Decision, Evidence, PlainAlignment
from shard_runtime.handover.keys import event_key

F = 100_000
R = F - 8_000

TOGGLE = ("MESSAGE_REACTION_ADD", b'{"d":{"guild_id":"1","emoji":"x"}}')
MESSAGE = ("MESSAGE_CREATE", b'{"d":{"id":"10"}}')


def recorded(event: tuple[str, bytes], arrival: int) -> WindowEvent:
    key, unique = event_key(*event)
    return WindowEvent(key=key, arrival=arrival, unique=unique)


@pytest.mark.parametrize(
    ("event", "arrival", "window", "expected"),
    [
        (MESSAGE, F - 100, [recorded(MESSAGE, F - 200)], Decision.SKIP),
        (MESSAGE, F + 50_000, [recorded(MESSAGE, F - 200)], Decision.SKIP),
        (MESSAGE, F - 100, [], Decision.DELIVER),
        (MESSAGE, F + 100, [], Decision.DELIVER),
        (MESSAGE, F - 2_001, [], Decision.DELIVER_MARKED),
        (MESSAGE, F - 2_000, [], Decision.DELIVER),
        (MESSAGE, R + 2_000, [], Decision.SKIP),
        (TOGGLE, F - 2_001, [], Decision.SKIP),
        (TOGGLE, F - 2_000, [], Decision.DELIVER_MARKED),
        (TOGGLE, F - 1, [], Decision.DELIVER_MARKED),
        (TOGGLE, F, [], Decision.DELIVER),
        (TOGGLE, F, [recorded(TOGGLE, F - 2_000)], Decision.DELIVER_MARKED),
        (TOGGLE, F, [recorded(TOGGLE, F - 2_001)], Decision.DELIVER),
        (TOGGLE, F + 1_000, [recorded(TOGGLE, F - 1)], Decision.DELIVER_MARKED),
        (TOGGLE, F + 2_000, [recorded(TOGGLE, F - 1)], Decision.DELIVER),
    ],
)
def test_one_event(event: tuple[str, bytes], arrival: int, window: list[WindowEvent], expected: Decision) -> None:
    alignment = PlainAlignment(Evidence(sealed_at=F, recorded_since=R, events=window))
    assert alignment.feed(Arrived(*event, arrival)) == (expected,)


@pytest.mark.parametrize(
    ("event", "window", "expected"),
    [
        (MESSAGE, [recorded(MESSAGE, F - 7_000)], Decision.SKIP),
        (MESSAGE, [], Decision.DELIVER),
        (TOGGLE, [recorded(TOGGLE, F - 7_000)], Decision.DELIVER_MARKED),
        (TOGGLE, [], Decision.DELIVER),
    ],
)
@pytest.mark.parametrize("arrival", [R, F - 3_000, F + 30_000])
def test_the_arrival_of_a_replayed_event_says_nothing(
    event: tuple[str, bytes], arrival: int, window: list[WindowEvent], expected: Decision
) -> None:
    alignment = PlainAlignment(Evidence(sealed_at=F, recorded_since=R, events=window))
    assert alignment.feed(Arrived(*event, arrival, replayed=True)) == (expected,)


def test_a_window_that_does_not_reach_back_proves_nothing() -> None:
    """The old pod began to record just before its seal."""
    alignment = PlainAlignment(Evidence(sealed_at=F, recorded_since=F - 100))
    assert alignment.feed(Arrived(*MESSAGE, F - 1_000)) == (Decision.DELIVER_MARKED,)
    assert alignment.feed(Arrived(*TOGGLE, F + 1_000)) == (Decision.DELIVER_MARKED,)
    assert alignment.feed(Arrived(*TOGGLE, F + 2_000)) == (Decision.DELIVER,)


def test_a_seal_moved_back_by_a_disconnected_shard_still_skips_what_others_accepted() -> None:
    alignment = PlainAlignment(Evidence(sealed_at=F - 5_000, recorded_since=R, events=[recorded(MESSAGE, F - 100)]))
    assert alignment.feed(Arrived(*MESSAGE, F)) == (Decision.SKIP,)
