"""The bot's token, the bearer tokens and the signing secret are in Secrets, and in nothing else that comes of a run."""

from __future__ import annotations

import base64
import json

from harness.kubectl import wait_until
from harness.scene import GATEWAY, GATEWAY_LABEL, Scene
from harness.tokens import leaks, outputs, secrets_of

SIGNING = "whsec_" + base64.b64encode(bytes(range(40, 72))).decode()

KILL_WORKERS = """
import os, pathlib, signal
for process in pathlib.Path("/proc").iterdir():
    if process.name.isdigit() and int(process.name) != os.getpid():
        if b"shard_runtime.worker" in (process / "cmdline").read_bytes():
            os.kill(int(process.name), signal.SIGABRT)
"""

LEFT_BEHIND = """
import json, pathlib
folders = [pathlib.Path(name) for name in ("/tmp", "/dev/shm", "/var/lib/discord-gateway")]
files = {str(path): path.read_bytes().decode("latin-1") for folder in folders for path in folder.rglob("*")
         if path.is_file()}
limits = {process.name: (process / "limits").read_text() for process in pathlib.Path("/proc").iterdir()
          if process.name.isdigit() and b"-m" in (process / "cmdline").read_bytes().split(bytes(1))}
print(json.dumps({"files": files, "limits": limits}))
"""
"""All that a pod's processes can have written, and what each of them may leave when it dies."""


def test_tokens_are_in_no_output_of_a_run_with_trouble(scene: Scene) -> None:
    scene.kubectl.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "signing"}, "stringData": {"secret": SIGNING}}
    )
    scene.apply_gateway(forward={"signingSecretRef": {"name": "signing", "key": "secret"}})
    scene.wait_ready()
    scene.load(100)
    scene.wait_events(200)
    # trouble is where tokens slip into texts: a receiver that fails, a worker that dies, a token that is refused
    scene.behave(status=500)
    scene.wait_condition("ReceiverReachable", "False")
    scene.behave()
    pod = sorted(scene.kubectl.names("pods", selector=GATEWAY_LABEL))[0]
    scene.kubectl.run("exec", pod, "--", "python", "-c", KILL_WORKERS)
    scene.wait_ready()
    scene.wait_events(200)
    secret, _ = scene.manifests()
    scene.kubectl.apply({**secret, "stringData": {"token": "bm9ib2R5.wrong.token-that-nobody-has"}})
    scene.wait_condition("TokenValid", "False")

    known = {**secrets_of(scene), "the bot's own": str(secret["stringData"]["token"])}
    assert {f"{GATEWAY}-auth/operator", f"{GATEWAY}-auth/bot", f"{GATEWAY}/token", "signing/secret"} <= set(known)
    texts = wait_until("outputs of the run", lambda: dict(outputs(scene)), seconds=60)
    assert any(name.startswith(f"{pod}.log") for name in texts)
    assert any(name.endswith("/metrics") and "discord_gateway_operator" in text for name, text in texts.items())
    assert leaks(texts, known) == []

    left = json.loads(scene.kubectl.run("exec", pod, "--", "python", "-c", LEFT_BEHIND))
    assert any(name.startswith("/var/lib/discord-gateway/") for name in left["files"])
    assert leaks(left["files"], known) == []
    limits = [line for text in left["limits"].values() for line in text.splitlines() if "core" in line]
    assert len(limits) >= 2, "of the supervisor and its workers"
    assert {tuple(line.split()[-3:-1]) for line in limits} == {("0", "0")}, "a core would hold every token"
