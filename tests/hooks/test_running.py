"""Whatever a hook does, the default has run once, or was rightly replaced."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from virtual.loop import run_virtual

from gateway_hooks import Hooks, HookUseError

Default = Callable[..., Awaitable[Any]]


class Story:
    """A hook, called once, and what became of it."""

    def __init__(self, name: str, hook: Callable[..., Awaitable[Any]]) -> None:
        self.name = name
        self.hooks = Hooks({name: hook}, context="context", log=logging.getLogger("story"), monotonic=lambda: 0.0)
        self.ran: list[tuple[Any, ...]] = []
        self.trouble: Exception | None = None

    async def default(self, *arguments: Any) -> str:
        self.ran.append(arguments)
        if self.trouble is not None:
            raise self.trouble
        return "the default's"

    def call(self, *arguments: Any, check: Callable[[Any], Any] | None = None) -> Any:
        async def main() -> Any:
            return await self.hooks.call(self.name, self.default, *arguments, check=check)

        return run_virtual(main())

    @property
    def errors(self) -> int:
        return self.hooks.errors[self.name]


def test_a_hook_gets_context_default_and_arguments_and_its_result_counts() -> None:
    async def hook(context: str, default: Default, shard: int) -> str:
        assert context == "context"
        return f"{await default(shard + 1)} and more"

    story = Story("create_shard", hook)
    assert story.call(3) == "the default's and more"
    assert story.ran == [(4,)] and story.errors == 0


def test_a_hook_may_do_without_the_default() -> None:
    async def hook(context: str, default: Default, shard: int) -> str:
        return "mine"

    story = Story("create_shard", hook)
    assert story.call(3) == "mine"
    assert story.ran == [] and story.errors == 0


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), KeyError("x"), AssertionError()])
def test_a_hook_that_fails_is_counted_and_the_default_runs(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def hook(context: str, default: Default, shard: int) -> str:
        raise error

    story = Story("create_shard", hook)
    assert story.call(3) == story.call(3) == "the default's"
    assert story.ran == [(3,), (3,)] and story.errors == 2
    (record,) = caplog.records
    assert f"Handler create_shard failed ({type(error).__name__}: " in record.getMessage(), (
        "and is told once, not twice"
    )
    assert "test_running.py" in record.getMessage()


async def cancelled_elsewhere() -> None:
    gone = asyncio.get_running_loop().create_future()
    gone.cancel()
    await gone


@pytest.mark.parametrize(("name", "arguments"), [("create_shard", (3,)), ("heartbeat", (3, 4)), ("identify", (3, {}))])
def test_what_is_cancelled_under_a_hook_is_the_hooks_failure(
    name: str, arguments: tuple[Any, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async def hook(context: str, default: Default, *arguments: Any) -> None:
        await cancelled_elsewhere()

    story = Story(name, hook)
    assert story.call(*arguments) == "the default's"
    assert story.ran == [arguments] and story.errors == 1
    assert f"Handler {name} failed (CancelledError: " in caplog.text


def test_a_hook_that_fails_after_the_default_does_not_run_it_again() -> None:
    async def hook(context: str, default: Default, shard: int) -> str:
        await default(shard)
        raise ValueError("too late")

    story = Story("create_shard", hook)
    assert story.call(3) == "the default's"
    assert story.ran == [(3,)] and story.errors == 1


def test_a_hook_that_takes_too_long_is_ended_and_the_default_runs(caplog: pytest.LogCaptureFixture) -> None:
    ended = []

    async def hook(context: str, default: Default, shard: int, sequence: int) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(shard)

    story = Story("heartbeat", hook)
    assert story.call(3, 4) == "the default's"
    assert ended == [3] and story.ran == [(3, 4)] and story.errors == 1
    assert "Handler heartbeat took longer than 1 s; the default takes its place" in caplog.text


def test_what_a_session_lives_by_is_done_though_the_hook_does_not() -> None:
    async def hook(context: str, default: Default, shard: int, sequence: int) -> None:
        return

    story = Story("heartbeat", hook)
    assert story.call(3, 4) == "the default's"
    assert story.ran == [(3, 4)] and story.errors == 1


def test_the_default_runs_once_where_it_may_run_once_only() -> None:
    async def hook(context: str, default: Default, shard: int, payload: dict[str, int]) -> None:
        await default(shard, payload)
        await default(shard, payload)

    story = Story("identify", hook)
    story.call(3, {})
    assert story.ran == [(3, {})] and story.errors == 1


def test_the_default_may_run_in_parts_where_that_has_a_meaning() -> None:
    async def hook(context: str, default: Default, shards: list[int]) -> None:
        await default(shards[:1])
        await default(shards[1:])

    story = Story("spawn_shards", hook)
    story.call([1, 2, 3])
    assert story.ran == [([1],), ([2, 3],)] and story.errors == 0


def test_a_result_that_is_none_of_the_kind_is_the_hooks_fault() -> None:
    async def hook(context: str, default: Default, shard: int) -> int:
        return 7

    def check(found: object) -> str:
        if not isinstance(found, str):
            raise HookUseError("returned a number")
        return found

    story = Story("create_shard", hook)
    assert story.call(3, check=check) == "the default's"
    assert story.errors == 1


@pytest.mark.parametrize("catches", [True, False])
def test_the_defaults_own_trouble_is_not_the_hooks(catches: bool) -> None:
    async def hook(context: str, default: Default, shard: int) -> str:
        if not catches:
            return str(await default(shard))
        try:
            return str(await default(shard))
        except OSError:
            return "mine"

    story = Story("create_shard", hook)
    story.trouble = OSError("the disk")
    if catches:
        assert story.call(3) == "mine"
    else:
        with pytest.raises(OSError, match="the disk"):
            story.call(3)
    assert story.ran == [(3,)] and story.errors == 0


def test_the_end_of_the_caller_ends_the_hook() -> None:
    async def hook(context: str, default: Default, shard: int) -> None:
        await asyncio.sleep(3600)

    story = Story("request_identify", hook)

    async def main() -> None:
        task = asyncio.create_task(story.hooks.call("request_identify", story.default, 1))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main())
    assert story.ran == [] and story.errors == 0


def test_the_end_of_the_caller_ends_the_hook_also_where_it_was_cancelled_before() -> None:
    async def hook(context: str, default: Default, shard: int) -> None:
        await asyncio.sleep(3600)

    story = Story("request_identify", hook)

    async def caller() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await story.hooks.call("request_identify", story.default, 1)

    async def main() -> None:
        task = asyncio.create_task(caller())
        for _ in range(2):
            await asyncio.sleep(1)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main())
    assert story.ran == [] and story.errors == 0
