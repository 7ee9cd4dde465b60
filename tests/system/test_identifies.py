"""A link that holds an IDENTIFY up makes no other one come too close to it at Discord."""

from __future__ import annotations

import pytest
from system.schedule import Schedule, Step
from system.seeds import describe, run_schedule
from system.setting import Setting


@pytest.mark.parametrize("number", [1, 3, 6])
def test_an_identify_that_the_network_holds_up_keeps_the_next_one_waiting(number: int) -> None:
    """Of one bucket, pods of a generation that comes up; one is cut off from Discord while it identifies."""
    steps = (
        Step(act="reshard", at=1.0, options={"count": 6}),
        Step(
            act="cut_from_discord",
            at=6.0 + number * 2.3,
            after="begun",
            seconds=9.0,
            draw=number,
            options={"newest": True, "silent": True},
        ),
    )
    setting = Setting(shards=2, per_worker=1, workers_per_pod=1, max_concurrency=1, rate=5.0, guilds=8)
    report = run_schedule(Schedule(seed=100 + number, setting=setting, steps=steps))
    assert not report.broken, describe(report, lines=60)
