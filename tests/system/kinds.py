"""What can happen in a simulated run: each kind of step with how often, how long and with which choices it is drawn."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import msgspec


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of step."""

    act: str
    weight: int
    lasts: tuple[float, float] | None = None
    resource: str | None = None
    options: Callable[[random.Random], dict[str, Any]] = lambda chance: {}
    frail: bool = False
    """Only where sessions may be lost."""
    forgetful: bool = True
    """Also where Discord's replay buffer is short."""


def _one_of(name: str, *values: object) -> Callable[[random.Random], dict[str, Any]]:
    return lambda chance: {name: chance.choice(values)}


def _bot_fails(chance: random.Random) -> dict[str, Any]:
    return chance.choice(
        [
            *({"status": status} for status in (404, 408, 429, 500, 502, 503)),
            *({"delay": milliseconds} for milliseconds in (50, 300, 2_000, 12_000)),
            {"hang": True},
            {"status": 429, "retry_after": chance.choice([1, 5])},
        ]
    )


KINDS: Final = (
    # the parts
    Kind(act="kill_pod", weight=10, resource="pod"),
    Kind(act="kill_worker", weight=8),
    Kind(act="kill_operator", weight=8, lasts=(0.5, 30), resource="operator"),
    Kind(act="delete_pod", weight=4, forgetful=False),
    # the network
    Kind(act="cut", weight=10, lasts=(0.5, 25), forgetful=False),
    Kind(
        act="cut_from_discord",
        weight=6,
        lasts=(3, 40),
        options=_one_of("silent", False, True),
        forgetful=False,
    ),
    Kind(act="isolate", weight=6, lasts=(0.5, 25), forgetful=False),
    Kind(act="slow_link", weight=6, lasts=(2, 25), options=_one_of("delay", 0.2, 1.0, 3.0), forgetful=False),
    Kind(
        act="lossy_network",
        weight=5,
        lasts=(2, 20),
        resource="network",
        options=lambda chance: {"refuse": chance.choice([0.05, 0.3]), "lose": chance.choice([0.0, 0.05, 0.2])},
    ),
    Kind(act="reset_connections", weight=4),
    # the bot
    Kind(act="bot_away", weight=8, lasts=(0.5, 40), resource="bot"),
    Kind(act="bot_fails", weight=10, lasts=(1, 25), resource="bot", options=_bot_fails),
    # the API server
    Kind(act="api_refuses", weight=5, lasts=(1, 25), resource="api", options=_one_of("share", 0.1, 0.5, 1.0)),
    Kind(act="api_loses_answers", weight=5, lasts=(1, 25), resource="api", options=_one_of("share", 0.1, 0.5)),
    Kind(act="slow_api", weight=5, lasts=(2, 25), resource="api", options=_one_of("delay", 0.5, 3.0, 8.0)),
    # disks and clocks
    Kind(act="full_disk", weight=6, lasts=(0.5, 20), resource="disk", forgetful=False),
    Kind(act="unreadable_disk", weight=2, lasts=(0.5, 8), resource="disk", forgetful=False),
    Kind(act="clock_step", weight=4, options=_one_of("seconds", -2.0, -0.5, 0.5, 2.0)),
    # Discord
    Kind(act="discord_closes", weight=8, options=_one_of("code", 1000, 1001, 4000, 4001, 4002, 4005, 4008)),
    Kind(act="discord_reconnects", weight=6, options=_one_of("seconds", 0.0, 2.0)),
    Kind(act="discord_drops", weight=5),
    Kind(act="discord_invalidates", weight=6, options=lambda chance: {"resumable": True}),
    Kind(act="discord_asks_for_heartbeats", weight=2),
    Kind(act="discord_stalls", weight=5, lasts=(0.3, 4)),
    Kind(
        act="discord_window",
        weight=12,
        lasts=(3, 20),
        options=_one_of(
            "window",
            "refuseConnections",
            "reconnectInsteadOfHello",
            "resetResumes",
            "delayReady",
            "dropHeartbeatAcks",
            "delayHeartbeatAcks",
            "api",
            "apiHang",
        ),
        forgetful=False,
    ),
    Kind(act="burst", weight=4, lasts=(1, 6), resource="load", options=_one_of("times", 3, 8), forgetful=False),
    Kind(act="guilds_come_and_go", weight=4),
    Kind(act="guild_outage", weight=3, lasts=(2, 15), resource="guilds"),
    # frail worlds
    Kind(act="discord_closes", weight=10, options=_one_of("code", 4003, 4007, 4009), frail=True),
    Kind(act="discord_invalidates", weight=12, options=lambda chance: {"resumable": False}, frail=True),
    Kind(act="discord_kills_sessions", weight=8, frail=True),
    Kind(act="lose_pod", weight=6, frail=True),
    Kind(act="power_cut", weight=6, frail=True),
)

PLOTS: Final = frozenset({"reshard", "reshard_again", "change_of_mind", "grow", "rollout", "reconfigure", "pause"})
"""What people do, or growth; the other acts are faults."""
ORDEALS: Final = frozenset(
    {
        *("kill_operator_in_a_write", "operator_clock_step", "two_operators", "force_delete"),
        *("discord_outage", "slow_discord", "failing_disk"),
    }
)
"""Faults that are drawn with others only."""
ALL_ACTS: Final = PLOTS | ORDEALS | {kind.act for kind in KINDS}
DELETES_PODS: Final = frozenset({"delete_pod", "rollout", "lose_pod"})
ENDS_PROCESSES: Final = DELETES_PODS | {"kill_pod", "kill_worker", "force_delete", "power_cut", "clock_step"}
"""Of pods."""
TAKES_NO_WRITES: Final = frozenset({"full_disk", "failing_disk"})
LOSES_ANSWERS: Final = ENDS_PROCESSES | {
    *("cut", "isolate", "slow_link", "lossy_network", "reset_connections"),
    *("bot_away", "bot_fails"),
}
"""After which the bot may get again what it has acknowledged: the pod does not know that it did."""
LEAVES_SESSIONS_ALONE: Final = PLOTS - {"rollout"} | {
    *("bot_away", "bot_fails", "burst", "guilds_come_and_go", "guild_outage", "discord_asks_for_heartbeats"),
    *("api_refuses", "api_loses_answers", "slow_api", "kill_operator", "kill_operator_in_a_write"),
    *("operator_clock_step", "two_operators"),
    *("full_disk", "unreadable_disk", "failing_disk"),
}
"""What does nothing to a pod, nor to its way to Discord: a handover meanwhile knows where each stream stands."""
KEEPS_CHECKPOINTS_FROM_OTHERS: Final = frozenset(
    {
        *(
            "kill_pod",
            "kill_worker",
            "kill_operator",
            "cut",
            "cut_from_discord",
            "isolate",
            "slow_link",
            "lossy_network",
        ),
        *(
            "kill_operator_in_a_write",
            "operator_clock_step",
            "two_operators",
            "full_disk",
            "unreadable_disk",
            "failing_disk",
            "lose_pod",
            "power_cut",
            "discord_window",
            "discord_outage",
            "slow_discord",
            "delete_pod",
        ),
    }
)
