"""Handlers in real pods: the file is read, what is wrong with it stops the pod, and the log goes through the hook."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from runtime.stage import TOKEN, eventually, record, running_stage
from runtime.test_setup import run_pod, write_mounts
from virtual.loop import run_virtual

from gateway_hooks import Hooks
from shard_runtime import contract
from shard_runtime.hooked.lines import HookedLines
from shard_runtime.logs import JsonLines, Redaction

HANDLERS = """
async def handle_payload(context, default, event):
    if event.name != "TYPING_START":
        await default(event)

async def log(context, default, line):
    if "answers on port" not in line["message"]:
        raise KeyError("nothing")
    await default({**line, "seen_by": f"worker {context.worker}"})
"""


async def test_a_pod_uses_the_handlers_that_are_mounted(tmp_path: Path) -> None:
    async with running_stage(tmp_path) as stage:
        (pod,) = stage.generation(1, count=2, pods=1)
        stage.write(1, "record/record.json", contract.encode(record(1, active=1)))
        stage.write(1, "config/handlers.py", HANDLERS.encode())
        await pod.start()
        await pod.until_ready()
        await stage.load(300)

        async def left_out() -> bool:
            counters = (await pod.status()).counters
            return counters["excluded"] > 0 and counters["acknowledged"] > 0

        await eventually(left_out, what="events that the handler leaves out, and others")
        _, text = await pod.call("GET", "/metrics")
        assert b'hook="handle_payload"} 0\n' in text
        assert await pod.end() == 0
        port = next(line for line in pod.lines if "answers on port" in line["message"])
        assert port["seen_by"] == "worker None"
        messages = " ".join(line["message"] for line in pod.lines)
        assert "Handlers are in use: handle_payload, log." in messages
        assert "Handler log failed (KeyError: 'nothing', handlers.py:8); the default takes its place" in messages
        assert "Stopped." in messages, "also the last line gets out"


@pytest.mark.parametrize(
    ("handlers", "sentence"),
    [
        ("async def heartbeet(c, d, s, n): ...", 'handlers.py: "heartbeet" is no handler; did you mean heartbeat?'),
        ("import nothing_of_this_name", "handlers.py, line 1 fails with ModuleNotFoundError"),
        ("\udcff", "handlers.py is not UTF-8 text (byte 0)."),
    ],
)
def test_a_pod_with_a_wrong_handler_does_not_start_and_says_why(tmp_path: Path, handlers: str, sentence: str) -> None:
    write_mounts(tmp_path / "config")
    (tmp_path / "config" / "config" / "handlers.py").write_bytes(handlers.encode(errors="surrogateescape"))
    ended = run_pod(tmp_path)
    assert ended.returncode == 2
    assert sentence in ended.stderr and "Traceback" not in ended.stderr


def test_an_installed_handler_that_does_not_load_stops_the_pod_too(tmp_path: Path) -> None:
    info = tmp_path / "site" / "mine-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[shard_runtime.hooks]\nheartbeat = nothing_of_this_name:beat\n")
    write_mounts(tmp_path / "config")
    ended = run_pod(tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert ended.returncode == 2
    assert (
        'Entry point "heartbeat = nothing_of_this_name:beat" in shard_runtime.hooks: it does not load' in ended.stderr
    )


class Story:
    """A logger whose lines go through a hook, and what came out."""

    def __init__(self, hook: Any) -> None:
        redaction = Redaction()
        redaction.learn(TOKEN)
        self.written: list[str] = []
        handler = logging.Handler()
        handler.setFormatter(JsonLines(redaction=redaction, fields={"pod": 1}))
        handler.emit = lambda record: self.written.append("plain: " + handler.format(record))  # type: ignore[method-assign]
        self.log = logging.Logger("story", logging.INFO)
        hooks = Hooks({"log": hook}, context=self, log=self.log, monotonic=lambda: 0.0)
        self.lines = HookedLines(hooks, handler, lambda text: self.written.append(redaction.clean(text)))
        self.log.addHandler(self.lines)


def test_the_log_hook_sees_no_token_and_can_let_none_out() -> None:
    seen: list[dict[str, object]] = []

    async def hook(context: Story, default: Any, line: dict[str, object]) -> None:
        seen.append(line)
        await default({**line, "more": TOKEN})

    async def main() -> None:
        story = Story(hook)
        story.log.info("before %s", TOKEN)
        running = asyncio.create_task(story.lines.run())
        await asyncio.sleep(0)
        story.log.info("with %s", TOKEN, extra={"session": "s"})
        await asyncio.sleep(1)
        running.cancel()
        await asyncio.wait((running,))
        story.log.info("after")
        assert len(story.written) == 3
        assert story.written[0].startswith('plain: {"time"') and "before [redacted]" in story.written[0]
        assert '"more": "[redacted]"' in story.written[1]
        assert story.written[2].startswith("plain: ")
        assert TOKEN not in str(story.written)
        assert [(line["message"], line["session"], line["pod"]) for line in seen] == [("with [redacted]", "s", 1)]

    run_virtual(main())


def test_a_log_hook_that_logs_or_hangs_loses_no_line_and_does_not_go_round_in_circles() -> None:
    async def hook(context: Story, default: Any, line: dict[str, object]) -> None:
        context.log.info("from the hook")
        await asyncio.sleep(3600)

    async def main() -> None:
        story = Story(hook)
        running = asyncio.create_task(story.lines.run())
        await asyncio.sleep(0)
        for number in range(1500):
            story.log.info("line %d", number)
        await asyncio.sleep(21)
        running.cancel()
        await asyncio.wait((running,))
        text = "\n".join(story.written)
        assert all(f'"line {number}"' in text for number in range(1500))
        assert text.count("from the hook") == 5, "once for each line that the hook had"
        assert "Handler log took longer than 5 s" in text

    run_virtual(main())
