"""The world that a simulated run happens in, drawn from its seed. Pure data.

Some worlds are *scarce*: they have room for few waiting events, so that some are dropped, or few session starts are
left of Discord's day.
"""

from __future__ import annotations

import random

import msgspec


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """The world that it happens in."""

    shards: int = 4
    per_worker: int = 2
    workers_per_pod: int = 1
    rate: float = 40.0
    """Events per second."""
    guilds: int = 32
    delay_milliseconds: int = 300
    """Most that Discord delays an event, by session."""
    by_guild: bool = False
    """Discord keeps order within a guild only."""
    shuffle_keys: bool = False
    compression: str = "zstd-stream"
    max_concurrency: int = 16
    ordering: str = "shard"
    lanes: int = 4
    exclude: bool = False
    """The bot does not want TYPING_START."""
    skew_seconds: float = 0.1
    """Machines' clocks differ by at most twice this."""
    remembers: bool = True
    """Discord replays any number of events; else as many as it is known to."""
    volume: bool = False
    """Pods' disks outlive them."""
    frail: bool = False
    """Discord ends sessions now and then, so that events may be lost by what is promised."""
    queued_events: int = 0
    """Most that may wait in a pod; 0: more than a run can make."""
    overflow: str = "DropOldest"
    """What gives way there."""
    max_age_seconds: float | None = None
    """For which an event may wait."""
    session_starts: int = 0
    """That are left of Discord's day when the run begins; 0: enough."""
    day_seconds: float = 86_400.0
    """From the run's beginning to the end of Discord's day."""
    reserve: int = 100
    """Session starts that a reshard leaves."""
    operator_skew_seconds: float = 0.0
    """By which the clock of the operator's machine is ahead of the true time."""
    expiry_seconds: float = 3600.0
    """After which Discord forgets a session that nobody is connected to."""

    @property
    def expires(self) -> bool:
        """Whether Discord forgets sessions within a time that faults can take."""
        return self.expiry_seconds < 120.0

    @property
    def drops(self) -> bool:
        """Whether events may be dropped by what is asked for."""
        return bool(self.queued_events) or self.max_age_seconds is not None


def draw_setting(chance: random.Random, world: str) -> Setting:
    shards = chance.choice([2, 2, 4, 4, 6])
    per_worker = chance.choice([1, 2]) if shards < 6 else 2
    return Setting(
        shards=shards,
        per_worker=per_worker,
        workers_per_pod=2 if per_worker == 1 else chance.choice([1, 2]),
        rate=15.0 if world == "forgetful" else chance.choice([25.0, 40.0]),
        guilds=chance.choice([12, 32]),
        delay_milliseconds=chance.choice([0, 100, 300, 500]),
        by_guild=chance.random() < 0.3,
        shuffle_keys=chance.random() < 0.2,
        compression=chance.choice(["zstd-stream", "zstd-stream", "zlib-stream", "none", "payload"]),
        max_concurrency=chance.choice([1, 2, 16, 16]),
        ordering=chance.choice(["shard", "guild"]),
        lanes=chance.choice([1, 2, 4]),
        exclude=chance.random() < 0.3,
        skew_seconds=chance.choice([0.0, 0.1, 0.1, 1.0]),
        remembers=world != "forgetful",
        frail=world == "frail",
    )


def draw_scarcity(seed: int, setting: Setting) -> Setting:
    """*setting* with little room for waiting events or few session starts; for most seeds as it is.

    From a random number of its own, so that all else of a seed is what it is without it.
    """
    chance = random.Random(f"scarcity/{seed}")
    what = chance.choices(["nothing", "room", "session starts"], weights=[84, 8, 8])[0]
    if what == "room":
        return msgspec.structs.replace(
            setting,
            queued_events=chance.choice([40, 120, 300]),
            overflow=chance.choice(["DropOldest", "DropNewest", "Pause"]),
            max_age_seconds=chance.choice([None, None, 8.0, 20.0]),
        )
    if what == "session starts":
        return msgspec.structs.replace(
            setting,
            session_starts=setting.shards + chance.choice([5, 6, 7, 8, 10, 14, 20]),
            day_seconds=round(chance.uniform(150, 1800), 3),
            reserve=chance.choice([0, 3, 10]),
        )
    return setting


def draw_clock(seed: int, setting: Setting) -> Setting:
    """*setting* with the operator's clock off, for some seeds; from a random number of its own, as all below."""
    chance = random.Random(f"clock/{seed}")
    if chance.random() >= 0.08:
        return setting
    return msgspec.structs.replace(setting, operator_skew_seconds=chance.choice([-2.0, -1.0, -0.3, 0.3, 1.0, 2.0]))


def draw_expiry(seed: int, setting: Setting) -> Setting:
    """*setting* with a Discord that forgets sessions within a minute, for some seeds."""
    chance = random.Random(f"expiry/{seed}")
    if chance.random() >= 0.08:
        return setting
    return msgspec.structs.replace(setting, expiry_seconds=chance.choice([20.0, 30.0, 45.0, 60.0]))
