"""What ``dgw local`` says to bad input, before it runs and while it runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gateway_operator.cli import main

if TYPE_CHECKING:
    from conftest import Stage

GATEWAY = """
apiVersion: discordgateway.dev/v1alpha1
kind: DiscordGateway
metadata: {name: bot}
spec:
  tokenSecretRef: {name: bot, key: token}
  intents: [GUILDS]
  forward: {url: "http://127.0.0.1:9/events"}
"""


Dgw = Callable[..., tuple[int, str]]
"""Runs the command here; gives exit code and what it said on standard error."""


@pytest.fixture
def dgw(capsys: pytest.CaptureFixture[str]) -> Dgw:
    def run(*arguments: str) -> tuple[int, str]:
        code = main(arguments)
        said = capsys.readouterr()
        assert said.out == ""
        return code, said.err

    return run


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "is not YAML: "),
        ("", "holds no DiscordGateway; write one with kind: DiscordGateway."),
        ("- 1\n", "document 1: is not an object; write apiVersion, kind, metadata and spec."),
        ("metadata: {name: a}\n", "document 1: has no kind; write kind: DiscordGateway."),
        (GATEWAY.replace("{name: bot}\nspec", "{}\nspec"), "document 1: DiscordGateway has no metadata.name."),
        (GATEWAY.replace("[GUILDS]", "[GUILDS, GUILD_MESAGES]"), "did you mean GUILD_MESSAGES?"),
        (GATEWAY.replace("v1alpha1", "v2"), 'apiVersion: "discordgateway.dev/v2" is not discordgateway.dev/v1alpha1.'),
        (GATEWAY.replace("http://127.0.0.1:9/events", "ftp://x"), "starts with http:// or https://"),
        (GATEWAY + "  shards: {count: -1}\n", "spec.shards.count: -1 must be at least 0."),
        (GATEWAY + "  compression: lz4\n", "spec.compression"),
        (GATEWAY + "  identify: {gateURL: 'gate:80'}\n", '"gate:80" is not a URL that starts with http:// or https://'),
        (GATEWAY + "---" + GATEWAY, "document 2: DiscordGateway default/bot stands in the file twice."),
        (
            GATEWAY + "---\nkind: Secret\nmetadata: {name: bot}\ndata: {token: '%%'}\n",
            "document 2: Secret bot: data.token is not base64; put plain text under stringData.",
        ),
        (
            GATEWAY + "---\nkind: Secret\nmetadata: {name: bot}\nstringData: {token: 12}\n",
            "document 2: Secret bot: stringData.token is not text; put it in quotes.",
        ),
    ],
)
def test_an_invalid_manifest_exits_2_with_the_sentence(dgw: Dgw, tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text(text)
    code, said = dgw("local", "-f", str(file), "--state", str(tmp_path / "state"))
    assert code == 2
    assert sentence in said
    assert not (tmp_path / "state").exists()


def test_an_unreadable_file_exits_2(dgw: Dgw, tmp_path: Path) -> None:
    code, said = dgw("local", "-f", str(tmp_path / "none.yaml"))
    assert (code, said) == (2, f"error: {tmp_path}/none.yaml cannot be read: No such file or directory.\n")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    code, said = dgw("local", "-f", str(tmp_path / "bytes.yaml"))
    assert (code, said) == (2, f"error: {tmp_path}/bytes.yaml is not UTF-8 text (byte 0).\n")
    assert dgw("local") == (2, "error: dgw local needs -f FILE, a manifest to run.\n")


def test_a_laptop_needs_no_kubernetes() -> None:
    program = "import sys, gateway_operator.local.run; print({'kubernetes', 'kopf'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "set()\n"


def test_a_state_directory_that_is_none_is_said_so(dgw: Dgw, tmp_path: Path) -> None:
    code, said = dgw("local", "patch", "--state", str(tmp_path), "-p", "{}")
    assert (code, said) == (1, f"error: {tmp_path} is not the state directory of a dgw local; name it with --state.\n")
    assert dgw("local", "patch", "-p", "{")[0] == 2
    (tmp_path / "file").write_text("")
    (tmp_path / "bot.yaml").write_text(GATEWAY)
    code, said = dgw("local", "-f", str(tmp_path / "bot.yaml"), "--state", str(tmp_path / "file"))
    assert code == 1
    assert said.startswith(f"error: {tmp_path}/file cannot be used: ")


async def test_bad_changes_while_it_runs_are_refused_and_what_was_good_goes_on(stage: Stage) -> None:
    gateway = stage.gateway
    stage.write(count=1)
    await gateway.start()
    await gateway.until(lambda: gateway.ready(generation=1, shards=1))
    pods = [pod["pid"] for pod in gateway.pods()]

    code, output = await gateway.dgw("patch", "-p", '{"spec":{"shards":{"count":"many"}}}')
    assert (code, output) == (2, 'error: spec.shards.count: "many" is not a whole number.\n')
    code, output = await gateway.dgw("patch", "-p", '{"metadata":{"name":"x"},"spec":{}}')
    assert (code, output) == (2, "error: The patch changes metadata; only spec can be patched here.\n")
    code, output = await gateway.dgw("patch", "other", "-p", "{}")
    assert (code, output) == (2, "error: There is no DiscordGateway default/other (there are: bot).\n")

    good = gateway.file.read_text()
    gateway.file.write_text(good.replace("GUILD_MESSAGES", "GUILD_MESAGES"))
    await gateway.until(lambda: any("what was last good goes on" in line for line in gateway.lines))
    await gateway.until(lambda: any("did you mean GUILD_MESSAGES?" in line for line in gateway.lines))

    code, output = await gateway.dgw("-f", str(gateway.file))
    assert code == 2, "the file is read before the lock is tried"
    gateway.file.write_text(good)
    code, output = await gateway.dgw("-f", str(gateway.file))
    assert code == 1
    assert f"{gateway.state} is in use by another dgw local (process " in output

    assert gateway.ready(generation=1, shards=1)
    assert [pod["pid"] for pod in gateway.pods()] == pods
    assert (await stage.counters())["identifiesAccepted"] == 1


async def test_a_missing_and_then_a_wrong_token_is_a_condition_and_costs_no_identify(stage: Stage) -> None:
    gateway = stage.gateway
    whole = gateway.file.read_text()
    gateway.file.write_text(whole[whole.index("---") :])
    await gateway.start()
    missing = await gateway.until(lambda: gateway.condition("TokenValid"))
    assert (missing["status"], missing["reason"]) == ("False", "SecretMissing")
    assert "Secret default/bot does not exist." in missing["message"]
    await gateway.until(lambda: any("Secret default/bot does not exist." in line for line in gateway.lines))

    gateway.file.write_text(whole.replace("stringData: {token:", "stringData: {wrong:"))
    await gateway.until(lambda: gateway.condition("TokenValid")["reason"] == "SecretKeyMissing")

    stage.write(count=1, token="not.the.token")
    refused = await gateway.until(
        lambda: (found := gateway.condition("TokenValid"))["reason"] == "TokenRefused" and found
    )
    assert "The bot token is wrong or was reset" in refused["message"]
    assert "not.the.token" not in "\n".join(gateway.lines)
    counters = await stage.counters()
    assert counters["identifyAttempts"] == 0

    stage.write(count=1)
    await gateway.until(lambda: gateway.ready(generation=1, shards=1))
    assert gateway.condition("TokenValid")["status"] == "True"
