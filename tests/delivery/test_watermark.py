"""The watermark never passes a sequence that is not finished, and never stays behind one that is."""

from __future__ import annotations

from itertools import pairwise

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


@given(
    singles=st.lists(st.integers(1, 60), max_size=40),
    ranges=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 20)), max_size=10),
)
def test_ranges_and_what_is_exported_are_as_if_finished_one_by_one(
    singles: list[int], ranges: list[tuple[int, int]]
) -> None:
    watermark, finished = Watermark(0), {0}
    for sequence in singles:
        watermark.finish(sequence)
        finished.add(sequence)
    for first, more in ranges:
        watermark.finish_range(first, first + more)
        finished.update(range(first, first + more + 1))
    for twin in (watermark, watermark.copy(), Watermark.restored(watermark.export(100))):
        assert {sequence for sequence in range(1, 90) if twin.covers(sequence)} == finished - {0}
        assert twin.value == next(number for number in range(200) if number + 1 not in finished)
        assert twin.last == max(max(finished), twin.value)
        assert twin.runs == watermark.runs
        for first, last in ((1, 89), (5, 4), (20, 40), *((first, first + more) for first, more in ranges[::-1])):
            parts = twin.lacks(first, last)
            assert all(earlier[1] + 1 < later[0] for earlier, later in pairwise(parts))
            lacking = {sequence for part in parts for sequence in range(part[0], part[1] + 1)}
            assert lacking == set(range(first, last + 1)) - finished
    for sequence in range(1, 90):
        watermark.finish(sequence)
    assert (watermark.value, watermark.runs) == (89, 0)


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
