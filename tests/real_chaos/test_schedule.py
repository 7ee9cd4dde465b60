"""A run of real faults is drawn from its seed alone, has every kind of them, and never too many at once."""

from __future__ import annotations

import pytest
from chaos.schedule import (
    AT_ONCE,
    COUNTS,
    KINDS,
    LINKS,
    NETWORK,
    ROUND_SECONDS,
    Act,
    Part,
    Strike,
    draw,
    held_by,
    lasting_at,
)

SEEDS = range(1, 21)


def strikes(seed: int, minutes: float = 20) -> list[tuple[Strike, ...]]:
    return [
        tuple(strike for strike in each.strikes if strike.act is not Act.RESHARD)
        for each in draw(seed=seed, minutes=minutes)
    ]


def test_a_seed_draws_the_same_run_again_and_a_short_one_is_its_beginning() -> None:
    assert draw(seed=7, minutes=20) == draw(seed=7, minutes=20)
    assert draw(seed=7, minutes=20) != draw(seed=8, minutes=20)
    assert draw(seed=7, minutes=3) == draw(seed=7, minutes=20)[:1]


@pytest.mark.parametrize("seed", SEEDS)
def test_twenty_minutes_have_every_kind_and_two_reshards(seed: int) -> None:
    rounds = draw(seed=seed, minutes=20)
    assert len(rounds) == 5
    struck = {(strike.act, strike.part) for each in rounds for strike in each.strikes}
    wanted = {(kind.act, kind.part) for kind in KINDS if kind.act not in NETWORK}
    assert wanted <= struck
    assert {act for act, _ in struck} == set(Act)
    links = {(strike.part, strike.other) for each in rounds for strike in each.strikes if strike.other}
    assert links == set(LINKS)
    assert [each.shards for each in rounds] == [COUNTS[0], COUNTS[1], COUNTS[1], COUNTS[0], COUNTS[0]]
    assert sum(strike.act is Act.RESHARD for each in rounds for strike in each.strikes) == 2


@pytest.mark.parametrize("seed", SEEDS)
def test_at_most_two_last_at_a_time_and_none_begin_after_the_round(seed: int) -> None:
    for each in strikes(seed):
        assert all(0 < strike.at < ROUND_SECONDS for strike in each)
        for strike in each:
            lasting = lasting_at(each, strike.at)
            assert len(lasting) <= AT_ONCE
            held = [name for other in lasting for name in held_by(other)]
            assert len(held) == len(set(held)), lasting


@pytest.mark.parametrize("seed", SEEDS)
def test_what_needs_the_api_server_does_not_strike_while_it_is_away(seed: int) -> None:
    for each in strikes(seed):
        away = [strike for strike in each if strike.part is Part.API]
        for strike in each:
            if strike.act is Act.DELETE:
                assert not any(api.at <= strike.at < api.ends for api in away)


def test_only_what_can_hold_up_an_identify_excuses_one_that_came_too_early() -> None:
    def excused(act: Act, part: Part, other: Part | None = None) -> bool:
        return Strike(at=1, act=act, part=part, other=other).holds_up_identifies

    assert excused(Act.SLOW, Part.POD, Part.DISCORD)
    assert excused(Act.PAUSE_WORKER, Part.POD)
    assert not excused(Act.SLOW, Part.POD, Part.RECEIVER)
    assert not excused(Act.PAUSE, Part.OPERATOR)
    assert not excused(Act.KILL, Part.POD)
