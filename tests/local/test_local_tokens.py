"""Tokens are in Secrets and their mounts, and in nothing else of a run with trouble: all that it leaves is searched."""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "e2e"))

import pytest
from harness.tokens import files, leaks

if TYPE_CHECKING:
    from conftest import Gateway, Stage

SIGNING: Final = "whsec_" + base64.b64encode(bytes(range(40, 72))).decode()
REFUSED: Final = "bm9ib2R5.wrong.token-that-nobody-has"
WAIT: Final = 90.0
"""Seconds, on a machine that has much else to do."""
SECRETS: Final = (
    "objects/secrets/",
    "discord-gateway/token/",
    "discord-gateway/auth/",
    "discord-gateway/signing/",
    "tokens/default/",
    "control-token",
)
"""Where tokens are meant to be."""


def secrets(gateway: Gateway) -> dict[str, str]:
    """All values of all Secrets, by name and key."""
    folder = gateway.state / "objects" / "secrets" / "default"
    return {
        f"{path.stem}/{key}": base64.b64decode(value).decode()
        for path in folder.glob("*.json")
        for key, value in json.loads(path.read_text())["data"].items()
    }


def children(process: int) -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()}


def processes(*pids: int) -> Iterator[tuple[str, str]]:
    """What anybody of the machine may see of a process, and what its user may."""
    for pid in pids:
        for name in ("cmdline", "environ"):
            yield f"{name} of {pid}", Path(f"/proc/{pid}/{name}").read_text()


@pytest.mark.timeout(300)
async def test_tokens_are_in_nothing_that_a_run_with_trouble_leaves(stage: Stage, tmp_path: Path) -> None:
    gateway = stage.gateway
    text = gateway.file.read_text()
    text = text.replace('/events"}', '/events", signingSecretRef: {name: signing, key: secret}}')
    signing = f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: signing}}\nstringData: {{secret: {SIGNING}}}\n"
    gateway.file.write_text(text + signing)
    await gateway.start()
    await gateway.until(lambda: gateway.ready(generation=1, shards=4))
    await stage.load(200)
    known = secrets(gateway)
    assert set(known) == {"bot/token", "bot-auth/operator", "bot-auth/bot", "signing/secret"}

    # trouble is where tokens slip into texts: a receiver that fails, a worker that dies, a token that is refused
    async with stage.http.post(f"{stage.receiver}/control/behaviour", json={"status": 500}) as answer:
        assert answer.status < 300
    await gateway.until(lambda: gateway.condition("ReceiverReachable").get("status") == "False", seconds=WAIT)
    async with stage.http.post(f"{stage.receiver}/control/behaviour", json={}) as answer:
        assert answer.status < 300
    (pod,) = gateway.pods()
    workers = children(pod["pid"])
    os.kill(min(workers), signal.SIGABRT)
    await gateway.until(lambda: len(children(pod["pid"]) - workers) == 1, seconds=WAIT)
    gateway.file.write_text(gateway.file.read_text().replace(known["bot/token"], REFUSED))
    await gateway.until(lambda: gateway.condition("TokenValid").get("status") == "False", seconds=WAIT)

    texts = dict(files(tmp_path, but=[*SECRETS, gateway.file.name]))
    texts |= dict(processes(pod["pid"], *children(pod["pid"])))
    bearer = {"authorization": f"Bearer {known['bot-auth/operator']}"}
    for path in ("metrics", "v1/status", "v1/record"):
        async with stage.http.get(f"{pod['url']}/{path}", headers=bearer) as answer:
            assert answer.status == 200
            texts[path] = await answer.text()
    config = json.loads(next(text for name, text in texts.items() if name.endswith("config/config.json")))
    async with stage.http.get(f"{config['operatorURL']}/metrics") as answer:
        texts["the operator's metrics"] = await answer.text()
    texts["dgw status"] = (await gateway.dgw("status"))[1]
    await gateway.stop()
    texts["the command's output"] = "\n".join(gateway.lines)
    texts |= {f"{name}, afterwards": text for name, text in files(tmp_path, but=[*SECRETS, gateway.file.name])}

    assert any(name.endswith("bot-g1-0.log") and "Traceback" not in text for name, text in texts.items())
    assert not [name for name in texts if Path(name).name.startswith("core")]
    meant = secrets(gateway)
    found = {each.rpartition(": ")[2] for each in leaks(files(tmp_path), meant)}
    assert found == set(meant), "the search finds them where they are meant to be"
    assert leaks(texts, {**known, "the refused one": REFUSED}) == []
