"""The watermark never passes a sequence that is not finished, and never stays behind one that is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shard_runtime.delivery.watermark import Watermark


@given(start=st.integers(0, 50), steps=st.lists(st.tuples(st.booleans(), st.integers(1, 60)), max_size=200))
def test_the_watermark_is_the_end_of_the_finished_prefix(start: int, steps: list[tuple[bool, int]]) -> None:
    watermark = Watermark(start)
    finished = set(range(start + 1))
    for through, sequence in steps:
        if through and sequence % 7 == 0:
            watermark.finish_through(sequence)
            finished.update(range(sequence + 1))
        else:
            watermark.finish(sequence)
            finished.add(sequence)
        expected = next(number for number in range(200) if number + 1 not in finished)
        assert watermark.value == expected
        above = {number for number in finished if number > expected}
        assert watermark.runs == sum(number - 1 not in above for number in above)


@given(st.permutations(range(1, 80)))
def test_every_order_ends_at_the_last(order: list[int]) -> None:
    watermark = Watermark(0)
    for sequence in order:
        watermark.finish(sequence)
    assert watermark.value == 79
    assert watermark.runs == 0


def test_a_long_backlog_with_every_other_event_excluded_stays_cheap() -> None:
    watermark = Watermark(0)
    for sequence in range(2, 200_001, 2):
        watermark.finish(sequence)
    assert watermark.value == 0
    assert watermark.runs == 100_000
    for sequence in range(1, 200_000, 2):
        watermark.finish(sequence)
    assert watermark.value == 200_000
    assert watermark.runs == 0
