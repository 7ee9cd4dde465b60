"""A process that dies says why, and neither its last words nor a core have a token in them."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

TOKEN: Final = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GabcDe.abcdefghijklmnopqrstuvwxyz0123456789AB"
RUNTIME: Final = f"""
from shard_runtime.logs import Redaction, guard_crashes
redaction = Redaction()
guard_crashes(redaction)
redaction.learn("{TOKEN}")
"""
OPERATOR: Final = """
from gateway_operator import logs
logs.configure("info")
"""
DYING: Final = f'raise RuntimeError("a header Bot {TOKEN} was refused")'


def last_words(*lines: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("process", [RUNTIME, OPERATOR], ids=["runtime", "operator"])
def test_an_error_that_nobody_caught_is_told_without_the_token(process: str) -> None:
    code, output = last_words(process, DYING)
    assert code == 1
    assert "RuntimeError" in output
    assert "was refused" in output
    # the program's own line is part of the trace, and here the token is part of the program
    assert TOKEN not in output


def test_nor_by_a_thread() -> None:
    code, output = last_words(
        RUNTIME,
        "import threading",
        f"def die():\n    {DYING}",
        "thread = threading.Thread(target=die, name='t')\nthread.start()\nthread.join()",
    )
    assert code == 0
    assert "In thread t: " in output
    assert "was refused" in output
    assert TOKEN not in output


@pytest.mark.parametrize("process", [RUNTIME, OPERATOR], ids=["runtime", "operator"])
def test_a_process_leaves_no_core(process: str) -> None:
    _, output = last_words(process, "import resource", "print(resource.getrlimit(resource.RLIMIT_CORE))")
    assert output.strip() == "(0, 0)"
