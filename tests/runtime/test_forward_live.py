"""A changed ``forward`` applies to running pods: no restart, no resume, nothing lost, order kept."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest_asyncio
from aiohttp import web
from runtime.stage import Pod, Stage, eventually, record, running_stage
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from shard_runtime import contract


@pytest_asyncio.fixture(loop_scope="function")
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with running_stage(tmp_path) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="function")
async def pod(stage: Stage) -> Pod:
    (only,) = stage.generation(1, count=4, pods=1, workers=2)
    stage.write(1, "record/record.json", contract.encode(record(1, active=1)))
    await only.start()
    await only.until_ready()
    return only


async def last_headers(stage: Stage) -> dict[str, str]:
    async with stage.http.get(f"{stage.receiver}/control/received") as answer:
        headers: dict[str, str] = (await answer.json())["lastHeaders"]
        return headers


async def test_everything_of_forward_changes_under_load_without_a_restart(stage: Stage, pod: Pod) -> None:
    await stage.load(600)
    workers = pod.worker_pids()
    before = await stage.counters()
    plain = contract.ForwardConfig(url=f"{stage.receiver}/events")

    async def acknowledged(more: int) -> None:
        start = (await pod.status()).counters["acknowledged"]

        async def enough() -> bool:
            return (await pod.status()).counters["acknowledged"] >= start + more

        await eventually(enough, what="deliveries")

    changes: list[dict[str, Any]] = [
        {"url": f"{stage.receiver}/elsewhere"},
        {"format": "single"},
        {"lanes": 1},
        {"lanes": 7, "ordering": "guild"},
        {"ordering": "shard", "max_batch_events": 3, "max_delay_milliseconds": 0.0},
        {"queue": contract.QueueBounds(max_events=5000, overflow="Pause"), "timeout_seconds": 3.0},
    ]
    for number, change in enumerate(changes):
        wanted = msgspec.structs.replace(plain, **change)
        if number % 2:
            assert (await pod.call("PUT", "/v1/forward", wanted))[0] == 200
        else:
            stage.write(1, "forward/forward.json", contract.encode(wanted))

            async def followed(changes_seen: int = number + 1) -> bool:
                return sum("changed forward configuration" in line["message"] for line in pod.lines) >= changes_seen

            await eventually(followed, what=f"the pod follows {change}")
        await acknowledged(300)
        if change.get("format") == "single":
            assert "x-gateway-session" in await last_headers(stage)
    await stage.load(0)
    verdict = await stage.settled_verdict()
    after = await stage.counters()
    assert (verdict.lost, verdict.duplicated, verdict.stream_violations) == (0, 0, 0), verdict.lost_examples
    assert pod.worker_pids() == workers
    for name in ("identifiesAccepted", "resumesAccepted"):
        assert after[name] == before[name], "the sessions notice nothing"


async def test_a_filter_applies_to_what_comes_from_now_on(stage: Stage, pod: Pod) -> None:
    await stage.load(300)
    only = contract.EventFilter(include=["MESSAGE_CREATE"])
    config = contract.ForwardConfig(url=f"{stage.receiver}/events", events=only)
    assert (await pod.call("PUT", "/v1/forward", config))[0] == 200
    accepted = (await pod.status()).counters["accepted"]

    async def excluded() -> bool:
        counters = (await pod.status()).counters
        return counters["excluded"] > 50 and counters["accepted"] > accepted

    await eventually(excluded, what="both kinds of events")
    await stage.load(0)

    async def delivered() -> bool:
        status = await pod.status()
        return status.queued == 0 and all(shard.watermark == shard.sequence for shard in status.shards)

    await eventually(delivered, what="the watermark passes what is excluded")


FIRST, SECOND = ("whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


@asynccontextmanager
async def verifying_bot(secrets: list[str], seen: list[tuple[str, int]]) -> AsyncIterator[str]:
    """A bot that takes only what is signed with a secret that it knows."""

    async def events(request: web.Request) -> web.Response:
        body = await request.read()
        for secret in secrets:
            try:
                Webhook(secret).verify(body, dict(request.headers))
            except WebhookVerificationError:
                continue
            items = json.loads(body)
            seen.extend((item["session"], item["payload"]["s"]) for item in items)
            return web.Response(status=204)
        return web.Response(status=401)

    application = web.Application(client_max_size=1 << 26)
    application.router.add_post("/events", events)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/events"
    finally:
        await runner.cleanup()


async def test_a_signing_secret_is_replaced_while_the_pod_runs(stage: Stage) -> None:
    """With one secret after the other, through a time in which both sign."""
    secrets, seen = [FIRST], list[tuple[str, int]]()
    async with verifying_bot(secrets, seen) as url:
        (pod,) = stage.generation(1, count=2, pods=1)
        stage.write(1, "record/record.json", contract.encode(record(1, active=1)))
        stage.write(1, "forward/forward.json", contract.encode(contract.ForwardConfig(url=url)))
        stage.write(1, "signing/secret", FIRST.encode())
        await pod.start()
        await pod.until_ready()
        await stage.load(200)

        async def more(than: int) -> bool:
            return len(seen) > than + 50

        await eventually(lambda: more(0), what="verified events")
        changed = 0

        async def followed() -> bool:
            return sum("signing secret has changed" in line["message"] for line in pod.lines) > changed

        for mounted, known in ((f"{FIRST} {SECOND}", FIRST), (f"{FIRST} {SECOND}", SECOND), (SECOND, SECOND)):
            if (pod.folder / "signing/secret").read_text() != mounted:
                stage.write(1, "signing/secret", mounted.encode())
                await eventually(followed, what="the new secret")
                changed += 1
            secrets[:] = [known]
            count = len(seen)
            await eventually(lambda: more(count), what=f"events signed with {known[:9]}")  # noqa: B023
        stage.write(1, "signing/secret", b"secret!")

        async def told() -> bool:
            return any("secret is not base64" in line["message"] for line in pod.lines)

        await eventually(told, what="a sentence about the bad secret")
        count = len(seen)
        await eventually(lambda: more(count), what="events signed with what it had")
        await stage.load(0)

        async def drained() -> bool:
            return (await pod.status()).queued == 0

        await eventually(drained, what="the rest")
        assert len(set(seen)) == len(seen), "nothing was refused and sent again after it had been taken"
        assert not any(secret in json.dumps(line) for line in pod.lines for secret in (FIRST, SECOND))
