"""Reading pauses and the session lives: heartbeats go out, silence of our own making is no sign of a dead peer."""

from __future__ import annotations

from shard.stage import Stage, play

from shard_runtime.contract import ShardState


def test_a_long_pause_costs_neither_the_connection_nor_an_event() -> None:
    async def story(stage: Stage) -> None:
        shard = stage.start()
        await stage.live()
        await stage.quiet()
        beats = len(stage.discord.heartbeats)
        shard.pause_reading(True)
        for number in range(20):
            stage.discord.session.dispatch("TYPING_START", {"number": number})
        await stage.quiet(200)
        assert stage.sequences == [2, 3, 4], "nothing is read"
        assert len(stage.discord.heartbeats) - beats >= 4
        assert len(stage.discord.connections) == 1
        shard.pause_reading(False)
        await stage.quiet()
        assert stage.sequences == list(range(2, 25))
        await stage.quiet(100)
        assert len(stage.discord.connections) == 1
        assert shard.status().state is ShardState.READY

    play(story)


def test_a_session_that_is_not_live_is_read_in_a_pause_too() -> None:
    async def story(stage: Stage) -> None:
        shard = stage.start()
        await stage.live()
        await stage.quiet()
        shard.pause_reading(True)
        stage.world.network.reset("pod")
        await stage.quiet(1)
        shard.pause_reading(True)
        await stage.world.until(lambda: shard.status().resumes == 1, within=10)
        shard.pause_reading(True)
        stage.discord.session.dispatch("TYPING_START", {})
        await stage.quiet()
        assert stage.sequences == [2, 3, 4], "live again, it is paused again"
        shard.pause_reading(False)
        await stage.quiet()
        assert len(stage.sequences) == 4

    play(story)
