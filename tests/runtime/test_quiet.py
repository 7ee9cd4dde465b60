"""When a worker gives memory back, and how."""

from __future__ import annotations

import mmap
import sys

import pytest

from shard_runtime.memory import empty
from shard_runtime.worker.quiet import MUCH_RECEIVED, QUIET_BYTES_A_SECOND, Quiet

EVERY = 0.25
"""Seconds between looks."""


def looks(received: list[int], *, sessions_at: tuple[int, ...] = (0,)) -> list[int]:
    """At which of the looks memory is given back; *received* is what came before each, sessions begin at some."""
    quiet, total, given_back = Quiet(), 0, []
    for number, size in enumerate(received):
        total += size
        if number in sessions_at:
            quiet.sessions_changed = True
        if quiet.look(total, number * EVERY):
            given_back.append(number)
    return given_back


def test_once_after_sessions_began_when_it_is_quiet() -> None:
    assert looks([500_000, 500_000, *[0] * 20], sessions_at=(0, 1)) == [3]
    assert looks([500_000, *[0] * 5, 100_000, *[0] * 20], sessions_at=(0, 6)) == [2, 8]


def test_again_in_the_first_quiet_moment_after_much_has_come() -> None:
    calm = [0] * 8
    assert looks([500_000, *calm, MUCH_RECEIVED, *calm]) == [2, 11]
    assert looks([500_000, *calm, MUCH_RECEIVED // 2, *calm, MUCH_RECEIVED // 2, *calm]) == [2, 20]


def test_never_under_load() -> None:
    assert looks([500_000, *[MUCH_RECEIVED // 10] * 100]) == []
    assert looks([500_000, *[0, MUCH_RECEIVED // 10] * 100]) == [], "a quarter of a second is no rest"


def test_a_trickle_is_quiet_and_asks_for_it_rarely() -> None:
    trickle = int(QUIET_BYTES_A_SECOND * EVERY)
    given_back = looks([500_000, *[trickle] * 1000])
    assert given_back[0] == 2
    assert len(given_back) == 1 + 998 * trickle // MUCH_RECEIVED


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep the pages")
def test_only_whole_pages_within_a_buffer_are_given_back() -> None:
    page = mmap.PAGESIZE
    memory = bytearray(b"x" * 8 * page)
    with memoryview(memory) as view, view[page : 7 * page] as part:
        empty(part)
        empty(view[: page - 1])
    kept = len(memory) - memory.count(0)
    assert memory.count(0) in (5 * page, 6 * page)
    assert memory.strip(b"x") == bytes(len(memory) - kept), "in one piece"
    assert memory[:page] == memory[-page:] == b"x" * page
