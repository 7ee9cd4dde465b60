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
        assert (stage.sink.unreadable, stage.sink.lost) == (0, 0), "nobody lacks a RESUMED"

    play(story)


def test_what_discord_leaves_out_of_a_live_session_is_told_to_be_lost() -> None:
    async def story(stage: Stage) -> None:
        shard = stage.start()
        await stage.live()
        await stage.quiet()
        stage.discord.session.sequence += 3
        stage.sink.fail_at = {8}
        stage.discord.session.dispatch("TYPING_START", {})
        await stage.quiet(5)
        assert stage.sink.missing == [("session-1", 5, 7)]
        assert (stage.sink.unreadable, stage.sink.lost) == (0, 3), "once, also where the dispatch behind it comes again"
        assert stage.sequences[3:] == [8]
        assert shard.status().resumes == 1

    play(story)


@pytest.mark.parametrize("behind", [1, 0], ids=["an event behind it", "only RESUMED behind it"])
@pytest.mark.parametrize("before", [1, 0], ids=["an event before it", "at once"])
def test_frames_that_are_given_up_are_told_as_such(behind: int, before: int) -> None:
    async def story(stage: Stage) -> None:
        stage.start()
        await stage.live()
        await stage.quiet()
        session = stage.discord.session
        bad = session.sequence + before + 1
        session.spoiled = {bad, bad + 1}
        for _ in range(before + 2 + behind):
            session.dispatch("TYPING_START", {})
        await stage.quiet(5)
        await stage.live()
        assert stage.sink.missing == [("session-1", bad, bad + 1)]
        assert (stage.sink.unreadable, stage.sink.lost) == (2, 0)
        assert stage.sequences[3:] == [bad - 1] * before + [bad + 2] * behind

    play(story)
