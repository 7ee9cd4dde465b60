"""What happens in one simulated run, drawn from a seed: a world, and steps that befall it. Pure data.

A step says when it strikes, what it does, for how long, and which number its own choices (which pod, which link) are
drawn from when it strikes. So no step depends on another one having been drawn, and any of them may be left out: that
is how a failing run shrinks to a short one. A schedule is written down as JSON and read back.

Steps of one *resource* never overlap (an operator is dead or alive, the receiver behaves in one way); all others do.
Left out is what may cost events by what is promised, but for *frail* worlds, in which Discord ends sessions.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec
from system.kinds import KINDS, Kind
from system.setting import Setting, draw_clock, draw_expiry, draw_scarcity, draw_setting

Anchor = Literal["load", "begun", "committed"]
"""What a step's time counts from: the load beginning, a record that names a target, one that makes it active."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happens."""

    act: str
    """A name of ``system.strikes.ACTS``."""
    at: float
    """Seconds after the anchor."""
    after: Anchor = "load"
    seconds: float = 0.0
    """How long it lasts; 0 for what is done in a moment."""
    draw: int = 0
    """What its own choices are drawn from."""
    options: dict[str, Any] = {}

    def __str__(self) -> str:
        lasts = f" for {self.seconds:.1f} s" if self.seconds else ""
        options = "".join(f" {name}={value}" for name, value in self.options.items())
        return f"{self.act}{options} {self.at:.1f} s after {self.after}{lasts} (draw {self.draw})"


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    seed: int
    setting: Setting
    steps: tuple[Step, ...]

    def with_steps(self, steps: tuple[Step, ...]) -> Schedule:
        return msgspec.structs.replace(self, steps=steps)

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


def decode_schedule(data: bytes) -> Schedule:
    """Raises ``msgspec.DecodeError``."""
    return msgspec.json.decode(data, type=Schedule)


LARGEST: Final = 8
"""Most shards of a generation."""

_Spans = list[tuple[float, float]]
"""When a resource is taken: beginnings and ends, in seconds after the load began."""


def draw_schedule(seed: int) -> Schedule:
    """The schedule of *seed*: always the same."""
    chance = random.Random(f"schedule/{seed}")
    kind_of_world = chance.choices(["steady", "forgetful", "frail"], weights=[6, 2, 2])[0]
    setting = draw_setting(chance, kind_of_world)
    steps = _draw_plot(chance, setting)
    kinds = [
        kind for kind in KINDS if (kind.frail <= setting.frail) and (kind.forgetful or kind_of_world != "forgetful")
    ]
    busy: dict[str, _Spans] = {}
    begins = any(step.act in ("reshard", "reshard_again", "change_of_mind", "grow") for step in steps)
    for _ in range(chance.randrange(2, 9)):
        step = _draw_fault(chance, kinds, begins=begins)
        resource = next(kind.resource for kind in kinds if kind.act == step.act)
        if resource == "pod" and setting.remembers:
            resource = None  # only where Discord forgets, a second kill of a pod is one too many
        if resource is None or _is_free(busy.setdefault(resource, []), step):
            steps.append(step)
    steps.extend(_draw_ordeal(seed, setting, busy, begins=begins))
    if setting.remembers:
        steps.extend(_draw_weather(seed, begins=begins))
        steps.extend(_draw_disk(seed, busy.setdefault("disk", []), begins=begins))
    steps.extend(_two_operators(seed, busy.setdefault("operator", []), begins=begins))
    if any(step.act == "force_delete" for step in steps):
        setting = msgspec.structs.replace(setting, volume=True)
    setting = draw_expiry(seed, draw_clock(seed, draw_scarcity(seed, setting)))
    if setting.operator_skew_seconds:
        steps.extend(_set_the_operators_clock(seed, busy.setdefault("operator", [])))
    if setting.drops:
        steps.extend(_absence(seed, busy.setdefault("bot", [])))
    return Schedule(seed=seed, setting=setting, steps=tuple(sorted(steps, key=lambda step: (step.after, step.at))))


def _draw_plot(chance: random.Random, setting: Setting) -> list[Step]:
    """What a person does, or growth: at most a few things, one after the other."""
    others = [count for count in (1, 2, 3, 4, 6, LARGEST) if count != setting.shards]
    plots: Mapping[str, Callable[[], list[Step]]] = {
        "a reshard": lambda: [Step(act="reshard", at=chance.uniform(0, 15), options={"count": chance.choice(others)})],
        "the same count": lambda: [Step(act="reshard_again", at=chance.uniform(0, 15))],
        "a change of mind": lambda: [
            Step(
                act="change_of_mind",
                at=chance.uniform(0, 10),
                seconds=chance.uniform(0.1, 25),
                options={"count": chance.choice(others), "then": chance.choice([setting.shards, *others])},
            )
        ],
        "two reshards": lambda: [
            Step(act="reshard", at=chance.uniform(0, 10), options={"count": chance.choice(others)}),
            Step(act="reshard", at=chance.uniform(30, 70), options={"count": chance.choice([setting.shards, *others])}),
        ],
        "a rollout": lambda: [Step(act="rollout", at=chance.uniform(3, 15))],
        "a rollout and a reshard": lambda: [
            Step(act="rollout", at=chance.uniform(3, 15)),
            Step(act="reshard", at=chance.uniform(3, 30), options={"count": chance.choice(others)}),
        ],
        "growth": lambda: [Step(act="grow", at=chance.uniform(0, 10))],
        "another way to the bot": lambda: [
            Step(
                act="reconfigure",
                at=chance.uniform(0, 20),
                options={"lanes": chance.choice([1, 2, 3, 8]), "ordering": chance.choice(["shard", "guild"])},
            )
        ],
        "nothing": list,
    }
    steps = plots[chance.choices(list(plots), weights=[10, 3, 4, 2, 4, 2, 3, 2, 2])[0]]()
    if chance.random() < 0.15:
        steps.append(Step(act="pause", at=chance.uniform(0, 20), seconds=chance.uniform(1, 25)))
    return steps


def _draw_fault(chance: random.Random, kinds: list[Kind], *, begins: bool) -> Step:
    kind = chance.choices(kinds, weights=[kind.weight for kind in kinds])[0]
    anchors: list[Anchor] = ["load", "load", "begun", "committed"] if begins else ["load"]
    after = chance.choice(anchors)
    latest = {"load": 45.0, "begun": 15.0, "committed": chance.choice([0.3, 1.0, 4.0])}[after]
    return Step(
        act=kind.act,
        at=round(chance.uniform(0, latest), 3),
        after=after,
        seconds=0.0 if kind.lasts is None else round(chance.uniform(*kind.lasts), 3),
        draw=chance.randrange(1_000_000),
        options=kind.options(chance),
    )


def _draw_ordeal(seed: int, setting: Setting, busy: dict[str, _Spans], *, begins: bool) -> list[Step]:
    """What faults drawn one by one hardly ever make together; nothing for most seeds.

    From a random number of its own, so that all other steps of a seed are what they are without it.
    """
    chance = random.Random(f"ordeal/{seed}")
    names = ["none", "two of one name", "waiting for permits", "long absence", "late write"]
    name = chance.choices(names, weights=[66, 6, 8, 12, 8])[0]
    if name == "two of one name" and setting.remembers and not setting.frail:
        return [_two_of_one_name(chance)]
    if name == "long absence":
        return _long_absence(chance, setting, busy.setdefault("bot", []))
    if name == "waiting for permits" and begins and setting.max_concurrency < 3:
        return [_while_permits_are_waited_for(chance)]
    if name == "late write" and begins:
        return _late_write(chance, busy.setdefault("operator", []))
    return []


def _draw_weather(seed: int, *, begins: bool) -> list[Step]:
    """Discord as a whole is away, or far away, in some seeds; also from a random number of its own."""
    chance = random.Random(f"weather/{seed}")
    name = chance.choices(["fair", "discord_outage", "slow_discord"], weights=[84, 8, 8])[0]
    if name == "fair":
        return []
    after: Anchor = chance.choice(["load", "begun", "committed"]) if begins else "load"
    return [
        Step(
            act=name,
            at=round(chance.uniform(0, {"load": 45.0, "begun": 10.0, "committed": 1.0}[after]), 3),
            after=after,
            seconds=round(chance.uniform(2, 40), 3),
            draw=chance.randrange(1_000_000),
            options={"delay": chance.choice([0.2, 0.8, 2.0])} if name == "slow_discord" else {},
        )
    ]


def _draw_disk(seed: int, taken: _Spans, *, begins: bool) -> list[Step]:
    """A machine's disk fails in another way than by being full, in some seeds; also from a random number of its own."""
    chance = random.Random(f"disk/{seed}")
    error = chance.choices(["none", "write", "sync", "read-only"], weights=[92, 3, 2, 3])[0]
    if error == "none":
        return []
    after: Anchor = chance.choice(["load", "begun", "committed"]) if begins else "load"
    step = Step(
        act="failing_disk",
        at=round(chance.uniform(0, {"load": 45.0, "begun": 10.0, "committed": 1.0}[after]), 3),
        after=after,
        seconds=round(chance.uniform(0.5, 30), 3),
        draw=chance.randrange(1_000_000),
        options={"error": error},
    )
    return [step] if _is_free(taken, step) else []


def _two_operators(seed: int, taken: _Spans, *, begins: bool) -> list[Step]:
    """An operator leads beside the next one in some seeds; also from a random number of its own."""
    chance = random.Random(f"two operators/{seed}")
    if chance.random() >= 0.07:
        return []
    after: Anchor = chance.choice(["load", "begun", "begun", "committed"]) if begins else "load"
    step = Step(
        act="two_operators",
        at=round(chance.uniform(0, {"load": 30.0, "begun": 10.0, "committed": 4.0}[after]), 3),
        after=after,
        seconds=round(chance.uniform(1, 12), 3),
    )
    return [step] if _is_free(taken, step) else []


def _set_the_operators_clock(seed: int, taken: _Spans) -> list[Step]:
    """In every other seed in which it is off: while the operator is down, since one that runs reads it only once."""
    chance = random.Random(f"clock step/{seed}")
    step = Step(
        act="operator_clock_step",
        at=round(chance.uniform(0, 45), 3),
        seconds=round(chance.uniform(0.5, 5), 3),
        options={"seconds": chance.choice([-2.0, -0.5, 0.0, 0.5, 2.0])},
    )
    return [step] if chance.random() < 0.5 and _is_free(taken, step) else []


def _long_absence(chance: random.Random, setting: Setting, taken: _Spans) -> list[Step]:
    """The bot is away for longer than Discord remembers and than a pod may take to end, and a pod loses what it has."""
    begin, seconds = chance.uniform(2, 15), chance.uniform(75, 120)
    away = Step(act="bot_away", at=round(begin, 3), seconds=round(seconds, 3))
    if not _is_free(taken, away):
        return []
    act = chance.choice(["delete_pod", "kill_pod", "kill_worker"]) if setting.remembers else "kill_worker"
    share = chance.uniform(0.3, 0.6) if act == "delete_pod" else chance.uniform(0.3, 0.95)
    return [away, Step(act=act, at=round(begin + share * seconds, 3), draw=chance.randrange(1_000_000))]


def _absence(seed: int, taken: _Spans) -> list[Step]:
    """The bot is away for long enough to fill a small queue."""
    chance = random.Random(f"absence/{seed}")
    away = Step(act="bot_away", at=round(chance.uniform(2, 30), 3), seconds=round(chance.uniform(20, 60), 3))
    return [away] if _is_free(taken, away) else []


def _while_permits_are_waited_for(chance: random.Random) -> Step:
    """A pod of the generation that comes up is far from the operator, or loses its way to Discord."""
    far = chance.random() < 0.5
    return Step(
        act="slow_link" if far else "cut_from_discord",
        at=round(chance.uniform(1, 12), 3),
        after="begun",
        seconds=round(chance.uniform(10, 25) if far else chance.uniform(4, 15), 3),
        draw=chance.randrange(1_000_000),
        options={"newest": True, **({"delay": 3.0} if far else {"silent": False})},
    )


def _two_of_one_name(chance: random.Random) -> Step:
    """A person deletes a pod by force, and it lives on beside the next one."""
    return Step(
        act="force_delete",
        at=round(chance.uniform(0, 30), 3),
        seconds=round(chance.uniform(3, 40), 3),
        draw=chance.randrange(1_000_000),
    )


def _late_write(chance: random.Random, taken: _Spans) -> list[Step]:
    """The operator dies with a write of the record on its way, which arrives when the next operator is at work."""
    after: Anchor = chance.choice(["load", "begun", "begun", "committed"])
    step = Step(
        act="kill_operator_in_a_write",
        at=round(chance.uniform(0, 5), 3) if after == "load" else 0.0,
        after=after,
        seconds=60.0,
        options={"late": round(chance.uniform(2, 25), 3), "down": round(chance.uniform(0.5, 3), 3)},
    )
    return [step] if _is_free(taken, step) else []


def _is_free(taken: _Spans, step: Step) -> bool:
    """Whether *step* fits between those of its resource; one that waits for an anchor has it for itself."""
    begin, end = step.at, step.at + step.seconds
    if step.after != "load" or not step.seconds:
        begin, end = float("-inf"), float("inf")
    if any(begin <= other_end and other_begin <= end for other_begin, other_end in taken):
        return False
    taken.append((begin, end))
    return True
