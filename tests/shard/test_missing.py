"""Numbers that a replay leaves out: whoever waits for them waits for ever, so the sink is told that they never come."""

from __future__ import annotations

import pytest
from shard.stage import Stage, play


@pytest.mark.parametrize("event_between", [True, False])
def test_what_an_earlier_resume_used_up_is_told_to_be_missing(event_between: bool) -> None:
    async def story(stage: Stage) -> None:
        shard = stage.start()
        await stage.live()
        await stage.quiet()
        session = stage.discord.session
        stage.sink.acknowledging = False  # so that the watermark stays before what RESUMED uses up
        stage.world.network.reset("pod")
        await stage.quiet(5)
        assert stage.sink.passed == [("session-1", 5)]
        if event_between:
            session.dispatch("TYPING_START", {})
            await stage.quiet()
        session.sent = [payload for payload in session.sent if payload["t"] != "RESUMED"]
        saved = shard.saved()
        stage.process.kill()
        stage.process = stage.world.process("pod")
        stage.start(saved=saved)
        await stage.live()
        assert stage.discord.resumes[-1]["seq"] == 4
        assert stage.sink.missing == [("session-1", 5, 5)]
        last = session.sequence
        assert stage.sink.passed[-1] == ("session-1", last)
        assert stage.sequences[3:] == ([6, 6] if event_between else [])

    play(story)
