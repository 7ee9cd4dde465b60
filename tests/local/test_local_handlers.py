"""Handlers in a manifest file: the pods of ``dgw local`` use them, and a changed one rolls them without an IDENTIFY."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Stage

HANDLERS = """
apiVersion: v1
kind: ConfigMap
metadata: {{name: my-handlers}}
data:
  handlers.py: |
    async def start_gateway(context, default):
        with open({trace!r}, "a") as file:
            file.write("{word}\\n")
        await default()
---
"""


async def test_handlers_of_a_manifest_are_used_and_a_changed_one_rolls_the_pods(stage: Stage, tmp_path: Path) -> None:
    gateway, trace = stage.gateway, tmp_path / "trace"

    def write(word: str) -> None:
        stage.write(count=2)
        text = gateway.file.read_text().rstrip()
        used = "  handlers: {configMapRef: {name: my-handlers, key: handlers.py}}\n"
        made = textwrap.dedent(HANDLERS).format(trace=str(trace), word=word)
        gateway.file.write_text(f"{made}{text}\n{used}")

    write("first")
    await gateway.start()
    await gateway.until(lambda: gateway.ready(generation=1, shards=2))
    assert trace.read_text() == "first\n", "one worker"
    (before,) = gateway.pods()

    write("second")

    def rolled() -> bool:
        pods = gateway.pods()
        ready = gateway.ready(generation=1, shards=2) and "rollout" not in gateway.status()
        return ready and len(pods) == 1 and pods[0]["uid"] != before["uid"]

    await gateway.until(rolled)
    assert trace.read_text() == "first\nsecond\n"
    counters = await stage.counters()
    assert (counters["identifiesAccepted"], counters["resumesAccepted"]) == (2, 2)
