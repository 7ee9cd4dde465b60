"""What `helm test` runs, against the operator's real HTTP surface."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

from gateway_operator.checkpoints import CheckpointRoutes
from gateway_operator.identify.clients import BEGINNING_SECONDS, GateClients
from gateway_operator.identify.server import GateRoutes
from gateway_operator.ports import SystemClock
from gateway_operator.web.metrics import Metric
from gateway_operator.web.surface import Surface

SCRIPT: Final = Path(__file__).parents[2] / "charts" / "discord-gateway-operator" / "files" / "answers.py"


class LaterClock(SystemClock):
    """The operator's beginning is over whenever *seconds* are enough."""

    seconds = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.seconds


async def answers(*, ready: bool, beginning: bool) -> tuple[int, str]:
    """Exit code and output of the script, with one second of patience."""
    clock = LaterClock()
    clients = GateClients(clock=clock, incarnation="t")
    clock.seconds = 0 if beginning else BEGINNING_SECONDS + 1
    checkpoints = CheckpointRoutes(clock=clock, authenticated=clients.gateway_of, beginning=lambda: clients.beginning)
    surface = Surface(
        ready=lambda: ready,
        metrics=lambda: [Metric.single("discord_gateway_operator_leader", "gauge", "Leads.", 1.0)],
        routes=[*GateRoutes(clients=clients, on_refused=lambda *_: None).routes(), *checkpoints.routes()],
    )
    port = await surface.start("127.0.0.1", 0)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            SCRIPT.read_text(),
            env={**os.environ, "OPERATOR_URL": f"http://127.0.0.1:{port}", "TEST_SECONDS": "1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()
    finally:
        await surface.stop()


async def test_an_operator_that_answers_and_refuses_strangers_passes() -> None:
    code, output = await answers(ready=True, beginning=False)
    assert code == 0, output
    assert output.count("ok: ") == 4


async def test_an_operator_that_is_not_ready_fails_with_what_it_said() -> None:
    code, output = await answers(ready=False, beginning=False)
    assert code == 1
    assert "GET /readyz answered 503" in output


async def test_an_operator_that_does_not_refuse_yet_is_waited_for() -> None:
    code, output = await answers(ready=True, beginning=True)
    assert code == 1
    assert "GET /v1/checkpoints/1/0 answered 503" in output
