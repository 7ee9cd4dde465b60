"""What befalls the real system, drawn from a seed: pure data, so that it can be told, tested and drawn again.

A run is rounds. In a round strikes follow each other, at most two at a time, with a pause between; then everything
must recover and is judged. Each kind of strike has its place in a deck that is shuffled and dealt, so that a run of
twenty minutes has every one. What a seed cannot fix is how the machine's processes take their turns.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Part(StrEnum):
    """What can be struck, or be the other end of a link."""

    POD = "pod"
    OPERATOR = "operator"
    RECEIVER = "receiver"
    DISCORD = "discord"
    API = "api server"
    DNS = "dns"
    MACHINE = "machine"


class Act(StrEnum):
    """What can be done to them."""

    KILL_WORKER = "kill worker"
    KILL_SUPERVISOR = "kill supervisor"
    KILL = "kill container"
    PAUSE_WORKER = "pause worker"
    PAUSE = "pause"
    DELETE = "delete pod"
    CUT = "cut"
    REFUSE = "refuse"
    SLOW = "slow"
    LOSSY = "lossy"
    HANG = "hang"
    GONE = "gone"
    DISK_FULL = "disk full"
    CLOCK = "clock step"
    AWAY = "away"
    ANSWERS = "answers"
    RESHARD = "reshard"


NETWORK: Final = frozenset({Act.CUT, Act.REFUSE, Act.SLOW, Act.LOSSY})
LINKS: Final = (
    (Part.POD, Part.DISCORD),
    (Part.POD, Part.RECEIVER),
    (Part.POD, Part.OPERATOR),
    (Part.POD, Part.POD),
    (Part.POD, Part.DNS),
    (Part.OPERATOR, Part.DISCORD),
    (Part.OPERATOR, Part.API),
)
"""Between any two parts that talk to each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A card of the deck."""

    act: Act
    part: Part
    cards: int = 1
    seconds: tuple[float, float] = (0.0, 0.0)
    """How long it lasts; 0 for what is done in a moment."""
    amount: tuple[float, float] = (0.0, 0.0)
    """What it takes in numbers: seconds of delay, part of the packets, seconds on the clock, a status."""
    holds: str | None = None
    """Only one strike at a time may hold it."""


KINDS: Final[tuple[Kind, ...]] = (
    Kind(act=Act.KILL_WORKER, part=Part.POD, cards=3),
    Kind(act=Act.KILL_SUPERVISOR, part=Part.POD, cards=2),
    Kind(act=Act.KILL, part=Part.POD, cards=2),
    Kind(act=Act.KILL, part=Part.OPERATOR, cards=2),
    Kind(act=Act.KILL, part=Part.RECEIVER, holds="receiver"),
    Kind(act=Act.PAUSE_WORKER, part=Part.POD, cards=2, seconds=(2, 40)),
    Kind(act=Act.PAUSE, part=Part.POD, cards=2, seconds=(2, 40)),
    Kind(act=Act.PAUSE, part=Part.OPERATOR, cards=2, seconds=(15, 40)),
    Kind(act=Act.PAUSE, part=Part.RECEIVER, seconds=(5, 40), holds="receiver"),
    Kind(act=Act.PAUSE, part=Part.DISCORD, seconds=(2, 20)),
    Kind(act=Act.DELETE, part=Part.POD, cards=2),
    Kind(act=Act.DELETE, part=Part.OPERATOR),
    Kind(act=Act.CUT, part=Part.POD, cards=5, seconds=(5, 40)),
    Kind(act=Act.REFUSE, part=Part.POD, cards=3, seconds=(5, 40)),
    Kind(act=Act.SLOW, part=Part.POD, cards=3, seconds=(10, 40), amount=(0.1, 1.5)),
    Kind(act=Act.LOSSY, part=Part.POD, cards=2, seconds=(10, 40), amount=(0.05, 0.3)),
    Kind(act=Act.HANG, part=Part.API, seconds=(60, 120), holds="api server"),
    Kind(act=Act.GONE, part=Part.API, seconds=(60, 120), holds="api server"),
    Kind(act=Act.DISK_FULL, part=Part.POD, cards=2, seconds=(20, 45), holds="receiver"),
    Kind(act=Act.CLOCK, part=Part.MACHINE, cards=2, seconds=(5, 30), amount=(0.3, 2.0), holds="clock"),
    Kind(act=Act.AWAY, part=Part.RECEIVER, seconds=(30, 60), holds="receiver"),
    Kind(act=Act.ANSWERS, part=Part.RECEIVER, cards=2, seconds=(10, 40), amount=(0, 0), holds="receiver"),
)
NEEDS_API: Final = frozenset({Act.DELETE, Act.RESHARD})
BOT_ANSWERS: Final = (500, 503, 429, 204)
"""With 204 it is slow: it takes seconds for it."""

ROUND_SECONDS: Final = 210.0
"""During which strikes begin; what lasts then is waited for."""
MINUTES_PER_ROUND: Final = 4
AT_ONCE: Final = 2
PAUSES: Final = (6.0, 16.0)
"""Seconds from one strike's beginning to the next one's."""
COUNTS: Final = (8, 12)
"""Shards, by turns: in two pods and in three."""
ALL_OF_THEM: Final = 0.3
"""Chance that a strike hits all pods of its part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """Something that befalls a part, or the link between two."""

    at: float
    """Seconds after the round began."""
    act: Act
    part: Part
    other: Part | None = None
    seconds: float = 0.0
    amount: float = 0.0
    pick: float = 0.0
    """Which pod of the part, from 0 to 1, when it strikes."""
    everywhere: bool = False
    """All pods of the part."""

    @property
    def ends(self) -> float:
        return self.at + self.seconds

    @property
    def what(self) -> str:
        """Its kind, as it is counted."""
        return f"{self.act} {self.part}" + (f" - {self.other}" if self.other else "")

    @property
    def holds_up_identifies(self) -> bool:
        """Whether an IDENTIFY may be under way for long: the gate knows when it was sent, not when Discord got it."""
        pauses = self.act in (Act.PAUSE, Act.PAUSE_WORKER) and self.part in (Part.POD, Part.DISCORD)
        return pauses or (self.act in NETWORK and self.other is Part.DISCORD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    strikes: tuple[Strike, ...]
    """In the order of their beginnings."""
    shards: int
    """How many there must be at its end."""


def draw(*, seed: int, minutes: float) -> tuple[Round, ...]:
    """A run of about so many minutes; the same for the same seed, and a shorter one is a longer one's beginning."""
    chance = random.Random(seed)
    deck, links = _Deck(chance), _links(chance)
    rounds: list[Round] = []
    shards = 0
    for number in range(max(1, round(minutes / MINUTES_PER_ROUND))):
        strikes: list[Strike] = []
        if number % 2 == 1:
            shards += 1
            strikes.append(Strike(at=round(chance.uniform(5, 60), 1), act=Act.RESHARD, part=Part.OPERATOR))
        strikes.extend(_strikes(chance, deck, links))
        strikes.sort(key=lambda strike: strike.at)
        rounds.append(Round(strikes=tuple(strikes), shards=COUNTS[shards % len(COUNTS)]))
    return tuple(rounds)


class _Deck:
    """Deals the kinds in random order, each as often as it has cards; what does not fit waits for its turn."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._cards: list[Kind] = []

    def deal(self, fits: Callable[[Kind], bool]) -> Kind:
        while True:
            for index, kind in enumerate(self._cards):
                if fits(kind):
                    return self._cards.pop(index)
            fresh = [kind for kind in KINDS for _ in range(kind.cards)]
            self._chance.shuffle(fresh)
            self._cards += fresh


def _links(chance: random.Random) -> Iterator[tuple[Part, Part]]:
    while True:
        yield from chance.sample(LINKS, len(LINKS))


def _strikes(chance: random.Random, deck: _Deck, links: Iterator[tuple[Part, Part]]) -> list[Strike]:
    strikes: list[Strike] = []
    moment = chance.uniform(*PAUSES)
    while moment < ROUND_SECONDS:
        lasting = lasting_at(strikes, moment)
        card = deck.deal(functools.partial(_fits, lasting=lasting))
        part, other = next(links) if card.act in NETWORK else (card.part, None)
        strikes.append(
            Strike(
                at=round(moment, 1),
                act=card.act,
                part=part,
                other=other,
                seconds=round(chance.uniform(*card.seconds), 1),
                amount=_amount(chance, card),
                pick=round(chance.random(), 3),
                everywhere=card.act in NETWORK and chance.random() < ALL_OF_THEM,
            )
        )
        moment += chance.uniform(*PAUSES)
        ends = sorted(strike.ends for strike in lasting_at(strikes, moment))
        if len(ends) >= AT_ONCE:
            moment = ends[-AT_ONCE] + chance.uniform(*PAUSES)
    return strikes


def lasting_at(strikes: Sequence[Strike], moment: float) -> tuple[Strike, ...]:
    """Those of *strikes* that last at *moment*."""
    return tuple(strike for strike in strikes if strike.at <= moment < strike.ends)


def held_by(strike: Strike) -> set[str]:
    """What *strike* holds while it lasts."""
    return {kind.holds for kind in KINDS if kind.act is strike.act and kind.part is strike.part and kind.holds}


def _fits(kind: Kind, *, lasting: Sequence[Strike]) -> bool:
    held = {name for strike in lasting for name in held_by(strike)}
    return kind.holds not in held and not (kind.act in NEEDS_API and "api server" in held)


def _amount(chance: random.Random, kind: Kind) -> float:
    if kind.act is Act.ANSWERS:
        return chance.choice(BOT_ANSWERS)
    drawn = round(chance.uniform(*kind.amount), 2)
    return drawn * chance.choice((-1, 1)) if kind.act is Act.CLOCK else drawn
