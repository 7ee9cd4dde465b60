"""A real pod under load: ``python -m shard_runtime`` with its mounted files, and a gate that grants every permit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from processes import Helper, cpu_seconds, pss_megabytes, rss_megabytes

from shard_runtime import contract

PATIENCE_SECONDS: Final = 60.0
OPERATOR: Final = "operator-of-the-benchmark"


def until(check: Callable[[], bool], *, what: str, seconds: float = PATIENCE_SECONDS, every: float = 0.02) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {seconds:g} s: {what}")
        time.sleep(every)


class _Gate(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = contract.encode(contract.Permit(id="p")) if self.path == "/v1/permits" else b""
        self.send_response(200 if body else 204)
        if body:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        return


class Pod:
    """A pod of *workers* workers that is the first generation of a gateway; use as a context."""

    def __init__(
        self,
        *,
        generator: Helper,
        receiver: Helper,
        compression: str,
        shards: int = 16,
        workers: int = 1,
        forward: contract.ForwardConfig | None = None,
    ) -> None:
        self._generator = generator
        self._shards = shards
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self._gate = ThreadingHTTPServer(("127.0.0.1", 0), _Gate)
        self._gate.daemon_threads = True
        threading.Thread(target=self._gate.serve_forever, daemon=True).start()
        layout = contract.ShardLayout(
            count=shards, first=0, last=shards - 1, per_worker=-(-shards // workers), workers_per_pod=workers
        )
        config = contract.RuntimeConfig(
            namespace="default",
            gateway="bench",
            generation=1,
            layout=layout,
            api_url="http://127.0.0.1:9/api/v10",
            gateway_url=generator.hello["url"],
            intents=1 | 1 << 9,
            compression=compression,
            operator_url=f"http://127.0.0.1:{self._gate.server_port}",
            pod_url=f"file:{self.folder}/pods.json",
        )
        record = contract.Record(
            epoch=1, active=1, target=None, honoured=contract.Honoured(count=0, identify_hash="", layout_hash="")
        )
        url = receiver.hello["url"]
        forward = contract.ForwardConfig(url=url) if forward is None else forward
        self._write("config/config.json", contract.encode(config))
        self._write("record/record.json", contract.encode(record))
        self._write("forward/forward.json", contract.encode(forward))
        self._write("token/token", b"bench.token")
        self._write("auth/operator", OPERATOR.encode())

    def _write(self, name: str, data: bytes) -> None:
        path = self.folder / "mounts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def __enter__(self) -> Pod:
        environment = os.environ | {
            "POD_INDEX": "0",
            "POD_UID": "bench",
            "DISCORD_GATEWAY_CONFIG_DIR": str(self.folder / "mounts"),
            "DISCORD_GATEWAY_STATE_DIR": str(self.folder / "state"),
            "DISCORD_GATEWAY_HOST": "127.0.0.1",
            "DISCORD_GATEWAY_PORT": "0",
            "DISCORD_GATEWAY_LOG_LEVEL": "info",
        }
        self.log = self.folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "shard_runtime"], env=environment, stderr=log)
        try:
            until(self._listening, what="the pod listens")
            until(lambda: self._generator.ask("ready")["ready"] == self._shards, what="all shards READY")
            until(lambda: self._watermarks() == [1] * self._shards, what="READYs delivered")
        except SystemExit as error:
            log = self.log.read_text()
            self.__exit__()
            raise SystemExit(f"{error}\n{log[:4000]}") from None
        return self

    def _listening(self) -> bool:
        if self.process.poll() is not None:
            raise SystemExit(f"the pod ended:\n{self.log.read_text()}")
        found = [line for line in self.log.read_text().splitlines() if "answers on port" in line]
        if found:
            self._port = int(found[0].partition("answers on port ")[2].partition(".")[0])
        return bool(found)

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._gate.shutdown()
        self._gate.server_close()
        shutil.rmtree(self.folder)

    def status(self) -> contract.PodStatus:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/v1/status", headers={"authorization": f"Bearer {OPERATOR}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return contract.decode(answer.read(), contract.PodStatus)

    def _watermarks(self) -> list[int | None]:
        return [shard.watermark for shard in self.status().shards]

    def delivered(self, events: int) -> bool:
        """Whether every shard's first *events* dispatches after READY are done with, and none was dropped."""
        status = self.status()
        lost = {name: status.counters[name] for name in ("dropped", "deadLettered") if status.counters[name]}
        if lost or any(shard.identifies != 1 or shard.resumes for shard in status.shards):
            raise SystemExit(f"the pod lost events or sessions: {lost}\n{self.log.read_text()}")
        return self._watermarks() == [events + 1] * self._shards

    @property
    def cpu_seconds(self) -> float:
        return cpu_seconds(self.process.pid)

    @property
    def pss_megabytes(self) -> float:
        return pss_megabytes(self.process.pid)

    @property
    def rss_megabytes(self) -> float:
        return rss_megabytes(self.process.pid)
