"""The bot's token, the bearer tokens and the signing secret are in Secrets, and in nothing else that comes of a run."""

from __future__ import annotations

import base64

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
