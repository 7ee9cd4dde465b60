"""The process cluster with real processes: pods start, restart, follow their objects and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import stat
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from gateway_operator.cluster.port import CONFIG_MAP, POD, SECRET, STATEFUL_SET, ConflictError
from gateway_operator.cluster.processes.cluster import ProcessCluster
from gateway_operator.cluster.processes.leftovers import start_time
from gateway_operator.ports import SystemClock

DUMMY = Path(__file__).with_name("dummy_runtime.py")


@contextlib.asynccontextmanager
async def running(state: Path) -> AsyncIterator[ProcessCluster]:
    cluster = ProcessCluster(
        state=state,
        command=[sys.executable, "-S", str(DUMMY)],
        clock=SystemClock(),
        chance=random.Random(1),
        leftover_grace_seconds=1,
    )
    task = asyncio.create_task(cluster.kubelet.run())
    try:
        yield cluster
    finally:
        cluster.kubelet.stop()
        await asyncio.wait_for(task, 20)


async def until(condition: Callable[[], Any], *, seconds: float = 20) -> Any:
    """The condition's value once it is true; fails after *seconds*."""
    async with asyncio.timeout(seconds):
        while True:
            value = condition()
            if value:
                return value
            await asyncio.sleep(0.02)


def statefulset(name: str = "bot-g1", *, replicas: int = 1, grace: int = 10, **spec: Any) -> dict[str, Any]:
    generation = name.rpartition("-g")[2]
    labels = {"discordgateway.dev/gateway": "bot", "discordgateway.dev/generation": generation}
    container = {
        "name": "gateway",
        "env": [
            {
                "name": "POD_INDEX",
                "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}},
            },
            {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
            {"name": "EXTRA", "value": "yes"},
        ],
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/discord-gateway/config"},
            {"name": "token", "mountPath": "/etc/discord-gateway/token"},
            {"name": "state", "mountPath": "/var/lib/discord-gateway"},
        ],
    }
    volumes = [
        {"name": "config", "configMap": {"name": "config"}},
        {"name": "token", "secret": {"secretName": "token", "items": [{"key": "token", "path": "token"}]}},
        {"name": "state", "emptyDir": {}},
    ]
    pod = {"terminationGracePeriodSeconds": grace, "containers": [container], "volumes": volumes}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"replicas": replicas, "template": {"metadata": {"labels": labels}, "spec": pod}, **spec},
    }


def config_map(**data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "config", "namespace": "default"},
        "data": data,
    }


def secret(**data: str) -> dict[str, Any]:
    metadata = {"name": "token", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}


def starts(state: Path, pod: str = "bot-g1-0") -> list[dict[str, Any]]:
    path = state / "pods" / "default" / pod / "root" / "var" / "lib" / "discord-gateway" / "starts"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def gone(*pids: int) -> bool:
    return all(start_time(pid) is None for pid in pids)


async def test_a_statefulset_becomes_pods_with_ports_mounts_and_identities(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        await cluster.apply(config_map(**{"config.json": "{}"}))
        await cluster.apply(secret(token="hush", other="not mounted"))
        await cluster.apply(statefulset(replicas=2))
        first = (await until(lambda: starts(tmp_path, "bot-g1-0")))[0]
        second = (await until(lambda: starts(tmp_path, "bot-g1-1")))[0]
        assert (first["POD_INDEX"], second["POD_INDEX"]) == ("0", "1")
        assert first["EXTRA"] == "yes"
        assert first["DISCORD_GATEWAY_HOST"] == "127.0.0.1"
        assert first["DISCORD_GATEWAY_PORT"] != second["DISCORD_GATEWAY_PORT"]
        pod = await cluster.get(POD, "default", "bot-g1-0")
        assert pod is not None
        assert pod["metadata"]["uid"] == first["POD_UID"]
        assert cluster.pod_url(pod) == f"http://127.0.0.1:{first['DISCORD_GATEWAY_PORT']}"
        root = tmp_path / "pods" / "default" / "bot-g1-0" / "root" / "etc" / "discord-gateway"
        assert [path.name for path in (root / "token").iterdir()] == ["token"]
        assert stat.S_IMODE((root / "token" / "token").stat().st_mode) == 0o600
        peers = json.loads((tmp_path / "peers" / "default" / "bot.json").read_text())
        assert peers == {
            f"1/{index}": f"http://127.0.0.1:{start['DISCORD_GATEWAY_PORT']}"
            for index, start in enumerate((first, second))
        }
        state = await until(lambda: _state_with_pids(tmp_path, 2))
        assert [entry["pid"] for entry in state["pods"]] == [first["pid"], second["pid"]]
        assert "hush" not in (tmp_path / "state.json").read_text()
    assert gone(first["pid"], first["child"], second["pid"], second["child"])


def _state_with_pids(folder: Path, count: int) -> Any:
    state = json.loads((folder / "state.json").read_text())
    return state if len([pod for pod in state["pods"] if pod["pid"]]) == count else None


async def test_a_changed_object_reaches_the_mount_of_a_running_pod(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        await cluster.apply(config_map(a="1", b="2"))
        await cluster.apply(secret(token="t"))
        await cluster.apply(statefulset())
        await until(lambda: starts(tmp_path))
        folder = tmp_path / "pods" / "default" / "bot-g1-0" / "root" / "etc" / "discord-gateway" / "config"
        await cluster.apply(config_map(a="3"))
        assert {path.name: path.read_text() for path in folder.iterdir()} == {"a": "3"}
        assert len(starts(tmp_path)) == 1


async def test_a_killed_pod_starts_again_with_its_state_and_identity(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        await cluster.apply(config_map())
        await cluster.apply(secret(token="t"))
        await cluster.apply(statefulset())
        first = (await until(lambda: starts(tmp_path)))[0]
        os.killpg(first["pid"], signal.SIGKILL)
        second = (await until(lambda: len(starts(tmp_path)) == 2 and starts(tmp_path)))[1]
        assert second["POD_UID"] == first["POD_UID"]
        assert second["pid"] != first["pid"]


async def test_a_pod_whose_first_process_ends_takes_its_children_along(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        await cluster.apply(config_map(end="3"))
        await cluster.apply(secret(token="t"))
        await cluster.apply(statefulset())
        await until(lambda: len(starts(tmp_path)) >= 2)
        first = starts(tmp_path)[0]
        assert gone(first["pid"], first["child"])
        container = cluster.kubelet.container("default", "bot-g1-0")
        assert container is not None
        assert container.last_exit == 3


async def test_a_pod_waits_for_its_secret_and_says_so(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        await cluster.apply(config_map())
        await cluster.apply(statefulset())
        reason = await until(lambda: cluster.kubelet.waiting_for("default", "bot-g1-0"))
        assert reason == "Secret token is not there."
        await cluster.apply(secret(wrong="t"))
        await until(lambda: cluster.kubelet.waiting_for("default", "bot-g1-0") != reason)
        assert cluster.kubelet.waiting_for("default", "bot-g1-0") == "Secret token has no key 'token' (keys: wrong)."
        assert starts(tmp_path) == []
        await cluster.apply(secret(token="t"))
        await until(lambda: starts(tmp_path))


async def test_a_deleted_statefulset_ends_its_pods_gracefully_and_removes_their_state(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        await cluster.apply(config_map())
        await cluster.apply(secret(token="t"))
        await cluster.apply(statefulset(replicas=2))
        pids = [(await until(lambda name=name: starts(tmp_path, name)))[0]["pid"] for name in ("bot-g1-0", "bot-g1-1")]
        await cluster.delete(STATEFUL_SET, "default", "bot-g1")
        await until(lambda: not cluster.store.select(POD, None, {}))
        assert gone(*pids)
        assert list((tmp_path / "pods" / "default").iterdir()) == []
        assert json.loads((tmp_path / "peers" / "default" / "bot.json").read_text()) == {}


async def test_a_deleted_pod_comes_back_as_another_one(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        await cluster.apply(config_map())
        await cluster.apply(secret(token="t"))
        await cluster.apply(statefulset())
        first = (await until(lambda: starts(tmp_path)))[0]
        with pytest.raises(ConflictError):
            await cluster.delete(POD, "default", "bot-g1-0", uid="another")
        await cluster.delete(POD, "default", "bot-g1-0", uid=first["POD_UID"])
        await until(lambda: starts(tmp_path) and starts(tmp_path)[0]["POD_UID"] != first["POD_UID"])
        assert len(starts(tmp_path)) == 1, "its state directory is a new one"


async def test_a_pod_that_ignores_sigterm_is_killed_after_its_grace_period(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        await cluster.apply(config_map(stubborn="yes"))
        await cluster.apply(secret(token="t"))
        await cluster.apply(statefulset(grace=1))
        first = (await until(lambda: starts(tmp_path)))[0]
        await cluster.delete(STATEFUL_SET, "default", "bot-g1")
        await until(lambda: not cluster.store.select(POD, None, {}))
        assert gone(first["pid"], first["child"])


async def test_a_new_run_goes_on_with_the_pods_of_the_last(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        await cluster.apply(config_map())
        await cluster.apply(secret(token="t"))
        await cluster.apply(statefulset())
        first = (await until(lambda: starts(tmp_path)))[0]
    state = tmp_path / "pods" / "default" / "bot-g1-0" / "root" / "var" / "lib" / "discord-gateway"
    assert (state / "stopped").exists()
    async with running(tmp_path):
        second = (await until(lambda: len(starts(tmp_path)) == 2 and starts(tmp_path)))[1]
        assert second["POD_UID"] == first["POD_UID"]


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
async def test_pods_of_a_killed_cluster_end_and_a_stubborn_one_is_ended_by_the_next_run(tmp_path: Path) -> None:
    program = (
        "import asyncio, random, sys; from pathlib import Path\n"
        "from gateway_operator.cluster.processes.cluster import ProcessCluster\n"
        "from gateway_operator.ports import SystemClock\n"
        "cluster = ProcessCluster(state=Path(sys.argv[1]), command=[sys.executable, '-S', sys.argv[2]],"
        " clock=SystemClock(), chance=random.Random(1))\n"
        "asyncio.run(cluster.kubelet.run())\n"
    )
    async with running(tmp_path) as cluster:
        await cluster.apply(config_map())
        await cluster.apply(secret(token="t"))
        await cluster.apply(statefulset())
        await until(lambda: starts(tmp_path))
    for stubborn in (False, True):
        if stubborn:
            cluster.store.apply(config_map(stubborn="yes"))
        known = len(starts(tmp_path))
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(tmp_path), str(DUMMY))
        await until(lambda known=known: len(starts(tmp_path)) > known)
        process.kill()
        await process.wait()
        pid = starts(tmp_path)[-1]["pid"]
        if not stubborn:
            await until(lambda pid=pid: gone(pid))
    assert not gone(pid)
    async with running(tmp_path):
        await until(lambda: gone(pid), seconds=30)
    assert cluster.store.get(CONFIG_MAP, "default", "config") is not None
    assert cluster.store.get(SECRET, "default", "token") is not None
