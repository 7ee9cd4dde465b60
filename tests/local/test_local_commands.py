"""Commands of a bot to the pods of ``dgw local``, over a reshard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conftest import Stage


async def post(stage: Stage, pod: dict[str, Any], guild: str) -> tuple[int, dict[str, Any]]:
    state = json.loads((stage.gateway.state / "state.json").read_text())
    token = Path(state["gateways"][0]["tokens"]["bot"]).read_text().strip()
    body = {"op": 8, "d": {"guild_id": guild, "query": "", "limit": 1}}
    headers = {"authorization": f"Bearer {token}"}
    async with stage.http.post(f"{pod['url']}/v1/commands", headers=headers, json=body) as answer:
        return answer.status, await answer.json()


async def test_commands_reach_the_active_generation_through_every_pod(stage: Stage) -> None:
    gateway = stage.gateway
    await gateway.start()
    await gateway.until(lambda: gateway.ready(generation=1, shards=4))
    ids: list[str] = (await stage.get(f"{stage.discord}/control/guilds"))["ids"]
    for pod in gateway.pods():
        for guild in ids[:6]:
            assert await post(stage, pod, guild) == (202, {"shard": (int(guild) >> 22) % 4})
    assert (await gateway.dgw("patch", "-p", '{"spec":{"shards":{"count":8}}}'))[0] == 0
    await gateway.until(lambda: gateway.ready(generation=2, shards=8))
    await gateway.until(lambda: [pod["generation"] for pod in gateway.pods()] == [2, 2])
    for pod in gateway.pods():
        for guild in ids[:6]:
            assert await post(stage, pod, guild) == (202, {"shard": (int(guild) >> 22) % 8})
