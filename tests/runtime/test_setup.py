"""A pod that is set up wrong says so in one sentence and exits with code 2, before it touches anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOKEN = "a-token-that-nobody-may-see"

CONFIG: dict[str, Any] = {
    "contract": 1,
    "namespace": "default",
    "gateway": "bot",
    "generation": 1,
    "layout": {"count": 2, "first": 0, "last": 1, "perWorker": 1, "workersPerPod": 1},
    "apiURL": "http://127.0.0.1:9/api",
    "intents": 1,
    "operatorURL": "http://127.0.0.1:9",
    "podURL": "http://pod-{generation}-{pod}",
}


def write_mounts(folder: Path, **changes: Any) -> None:
    files = {
        "config/config.json": json.dumps(CONFIG | changes),
        "forward/forward.json": json.dumps({"url": "http://127.0.0.1:9/events"}),
        "token/token": TOKEN + "\n",
        "auth/operator": "operator-secret",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def run_pod(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "POD_INDEX": "0",
        "POD_UID": "uid",
        "DISCORD_GATEWAY_CONFIG_DIR": str(tmp_path / "config"),
        "DISCORD_GATEWAY_STATE_DIR": str(tmp_path / "state"),
        "DISCORD_GATEWAY_HOST": "127.0.0.1",
        "DISCORD_GATEWAY_PORT": "0",
        **variables,
    }
    command = [sys.executable, "-m", "shard_runtime"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize(
    ("changes", "variables", "sentence"),
    [
        ({}, {"POD_UID": ""}, "POD_UID is not set"),
        ({}, {"POD_INDEX": "x"}, 'POD_INDEX is "x"'),
        ({}, {"POD_INDEX": "2"}, "POD_INDEX is 2, but generation 1 has only 2 pods."),
        ({"contract": 2}, {}, "contract version 2, this image speaks 1"),
        ({"intents": "all"}, {}, "config.json is not a valid RuntimeConfig"),
        ({"layout": {"count": 2, "first": 0, "last": 2}}, {}, "layout 0..2 of 2 shards is not possible"),
        ({"apiURL": "discord.com"}, {}, 'apiURL "discord.com" must begin with http'),
        ({"compression": "brotli"}, {}, 'compression "brotli" is not one of'),
        (
            {"identify": {"presence": {"status": "idle", "activities": [{"name": "x" * 4000}]}}},
            {},
            "bytes, of which Discord takes at most 4096; shorten spec.identify.presence.",
        ),
        ({"podURL": "http://pod"}, {}, 'podURL "http://pod" must hold {generation} and {pod}'),
    ],
)
def test_a_wrong_setup_exits_with_2(
    tmp_path: Path, changes: dict[str, Any], variables: dict[str, str], sentence: str
) -> None:
    write_mounts(tmp_path / "config", **changes)
    done = run_pod(tmp_path, **variables)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("config/config.json", None, "config.json does not exist; it must be mounted"),
        ("forward/forward.json", b"{", "forward.json is not a valid ForwardConfig"),
        ("forward/forward.json", b'{"url": "\xff"}', "forward.json is not"),
        ("token/token", None, "token does not exist"),
        ("token/token", b"  \n", "token is empty"),
        ("token/token", TOKEN.encode() + b" and more", "token holds characters that no token has"),
        ("signing/secret", b"whsec_c2hvcnQ=", "secret holds a key of 5 bytes, it must have 24 to 64"),
        ("record/record.json", b"[]", "record.json is not a valid Record"),
    ],
)
def test_a_wrong_file_is_named_and_no_token_shown(
    tmp_path: Path, name: str, content: bytes | None, sentence: str
) -> None:
    write_mounts(tmp_path / "config")
    path = tmp_path / "config" / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
    done = run_pod(tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert TOKEN not in done.stderr


def test_the_supervisor_loads_nothing_heavy() -> None:
    program = "import sys, shard_runtime.supervisor.main; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "h11" in loaded
    assert loaded.isdisjoint({"aiohttp", "picows", "zstandard", "uvloop", "kubernetes", "kopf", "pydantic", "yaml"})
