"""Small disks of their own for the pods, so that one can be full: file systems in files, mounted on the node."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from harness.kubectl import Kubectl, KubectlError

from chaos.machine import Process

CLASS: Final = "discord-gateway-chaos"
SIZE: Final = "64Mi"
_BYTES: Final = 64 << 20
_STATE: Final = "/var/lib/discord-gateway"
_FILLING: Final = "filling"
_BLOCK: Final = 1 << 16
LABEL: Final = "discordgateway.dev/e2e=chaos"


class Volumes:
    """PersistentVolumes on *number* of them below *folder*; a pod's claim takes one."""

    def __init__(self, *, kubectl: Kubectl, folder: Path, number: int) -> None:
        self._kubectl, self._folder, self._number = kubectl, folder, number

    def make(self) -> None:
        self.remove()
        for index in range(self._number):
            image, at = self._folder / f"{index}.img", self._at(index)
            at.mkdir(parents=True)
            with image.open("wb") as file:
                file.truncate(_BYTES)
            _run("mkfs.ext4", "-q", "-m", "0", str(image))
            _run("mount", "-o", "loop", str(image), str(at))
        self._kubectl.apply(self._class(), *(self._volume(index) for index in range(self._number)))

    def remove(self) -> None:
        """Also what an earlier run has left."""
        with contextlib.suppress(KubectlError, subprocess.TimeoutExpired):
            self._kubectl.run("delete", "persistentvolumes", f"--selector={LABEL}", "--wait=false")
            self._kubectl.run("delete", "storageclass", CLASS, "--ignore-not-found")
        for index in range(self._number):
            if self._at(index).is_mount():
                # a pod that is about to end may hold it still
                _run("umount", "-l", str(self._at(index)))
        shutil.rmtree(self._folder, ignore_errors=True)

    def fill(self, process: Process) -> Callable[[], None]:
        """Leave no room on the disk of the pod that *process* is in. Returns what makes room again. Raises
        ``LookupError``, or ``OSError`` if the process has ended."""
        # asked of the machine, since the API server may be away
        device = Path(f"/proc/{process.pid}/root{_STATE}").stat().st_dev
        folders = [self._at(index) for index in range(self._number) if self._at(index).stat().st_dev == device]
        if not folders:
            raise LookupError("the pod has no disk of its own")
        filling = folders[0] / _FILLING
        with filling.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * _BLOCK)
        os.sync()
        return lambda: filling.unlink(missing_ok=True)

    def _at(self, index: int) -> Path:
        return self._folder / f"volume-{index}"

    def _class(self) -> dict[str, Any]:
        return {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": CLASS},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        }

    def _volume(self, index: int) -> dict[str, Any]:
        here = {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}
        label, _, value = LABEL.partition("=")
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"chaos-{index}", "labels": {label: value}},
            "spec": {
                "capacity": {"storage": SIZE},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": CLASS,
                "local": {"path": str(self._at(index))},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            },
        }


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)
