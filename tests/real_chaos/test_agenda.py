"""Strikes begin and end in their order and out of each other's way, also on a machine that is late."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import pytest
from chaos.agenda import AGAIN_SECONDS, MISSED_SECONDS, Agenda
from chaos.schedule import Act, Part, Strike

KILL = Strike(at=9, act=Act.KILL, part=Part.POD)
ANSWERS = Strike(at=10, act=Act.ANSWERS, part=Part.RECEIVER, seconds=30, amount=500)
AWAY = Strike(at=41, act=Act.AWAY, part=Part.RECEIVER, seconds=20)


@dataclass
class Machine:
    """Takes as long for each beginning as *takes* says, and notes what begins and ends when."""

    takes: dict[Strike, float] = field(default_factory=dict)
    nothing_to_hit: set[Strike] = field(default_factory=set)
    seconds: float = 0.0
    story: list[tuple[float, str]] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def begin(self, strike: Strike, ends: contextlib.ExitStack) -> bool:
        self.seconds += self.takes.get(strike, 0.0)
        if strike in self.nothing_to_hit:
            return False
        self.story.append((self.seconds, f"{strike.act}"))
        ends.callback(lambda: self.story.append((self.seconds, f"{strike.act} undone")))
        return True

    def end(self, strike: Strike, ends: contextlib.ExitStack) -> None:
        ends.close()

    def missed(self, strike: Strike) -> None:
        self.story.append((self.seconds, f"{strike.act} missed"))

    def run(self, *strikes: Strike) -> list[tuple[float, str]]:
        agenda = Agenda(now=lambda: self.seconds, sleep=self.sleep)
        with contextlib.ExitStack() as undoing:
            for strike in strikes:
                agenda.strike(strike, begin=self.begin, end=self.end, missed=self.missed, undoing=undoing)
            agenda.run()
            return list(self.story)


def test_what_lasts_ends_in_its_time() -> None:
    assert Machine().run(KILL, ANSWERS, AWAY) == [
        (9, "kill container"),
        (10, "answers"),
        (40, "answers undone"),
        (41, "away"),
        (61, "away undone"),
    ]


def test_a_late_strike_is_over_before_the_next_one_that_would_undo_it() -> None:
    story = Machine(takes={KILL: 12}).run(KILL, ANSWERS, AWAY)
    assert story[1:3] == [(21, "answers"), (51, "answers undone")]
    away, _ = story[3]
    assert 51 <= away <= 51 + AGAIN_SECONDS
    assert story[4] == (away + 20, "away undone")


@pytest.mark.parametrize("strike", [KILL, ANSWERS])
def test_what_finds_nothing_to_hit_is_tried_for_a_while(strike: Strike) -> None:
    ((moment, said),) = Machine(nothing_to_hit={strike}).run(strike)
    assert said == f"{strike.act} missed"
    assert strike.at + MISSED_SECONDS <= moment <= strike.at + MISSED_SECONDS + AGAIN_SECONDS
