"""What a pod may take of memory, measured as real processes by the benchmark's own means."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

IDLE_MEGABYTES = 85.0
FURTHER_SHARD_MEGABYTES = {"none": 0.1, "zlib-stream": 0.15, "zstd-stream": 0.35}
"""After READY. A zstd stream that has seen events takes the window besides that its sender declares."""
AFTER_BURST_MEGABYTES = 120.0
STALLED_MEGABYTES = 64.0
"""Over the queue's bound."""


@pytest.mark.verify
@pytest.mark.timeout(1200)
def test_memory_stays_within_what_is_promised() -> None:
    run = subprocess.run(
        [sys.executable, "benchmarks/run.py", "--only", "memory", "--events", "6000"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    memory = json.loads(run.stdout)["memory"]["results"]
    stalled = memory.pop("stalled_receiver")
    assert stalled["queued"] > 0
    assert stalled["peak"] < stalled["bound"] + STALLED_MEGABYTES
    assert set(memory) == {"none", "zlib-stream", "zstd-stream"}
    for compression, found in memory.items():
        assert found["further_shard"] <= FURTHER_SHARD_MEGABYTES[compression], compression
        if compression != "zstd-stream":
            assert found["further_shard_warm"] <= FURTHER_SHARD_MEGABYTES[compression], compression
        assert found["idle_16_warm"] <= IDLE_MEGABYTES, compression
        assert found["burst"]["after_10_s"] <= AFTER_BURST_MEGABYTES, compression
