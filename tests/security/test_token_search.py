"""The search that the end-to-end run does through all of its outputs finds what it is for."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "e2e"))

from harness.tokens import at_a_glance, files, leaks

TOKEN = 'MTA.Gab"cD/e+.x-1_y'


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "Bot "])
@pytest.mark.parametrize("after", ["", "a", "ab", "\n"])
def test_a_token_is_found_in_base64_wherever_it_stands(before: str, after: str) -> None:
    text = base64.b64encode((before + TOKEN + after).encode()).decode()
    assert leaks({"here": f"data: {text}"}, {"token": TOKEN}) == ["here: token"]


@pytest.mark.parametrize("text", [f"x{TOKEN}x", json.dumps({"a": TOKEN}), f"http://x/?t={quote(TOKEN, safe='')}"])
def test_a_token_is_found_as_texts_have_it(text: str) -> None:
    assert leaks({"here": text}, {"token": TOKEN}) == ["here: token"]


def test_what_is_no_token_is_not_found() -> None:
    assert leaks({"here": TOKEN[1:], "there": "x"}, {"token": TOKEN, "short": "x"}) == []


def test_files_are_read_but_for_those_that_may_hold_it(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "pod.log").write_bytes(b"\xff " + TOKEN.encode())
    (tmp_path / "secret.json").write_text(TOKEN)
    assert leaks(files(tmp_path, but=["secret"]), {"token": TOKEN}) == ["logs/pod.log: token"]


class Cluster:
    """A scene whose one runtime pod says the token in its metrics and, once restarted, in its earlier log."""

    namespace = "here"

    def __init__(self, *, restarts: int) -> None:
        labels = {"discordgateway.dev/gateway": "my-bot"}
        status = {"containerStatuses": [{"restartCount": restarts}]}
        self.pod = {"kind": "Pod", "metadata": {"name": "pod-0", "labels": labels}, "status": status}
        self.kubectl = self.system = self

    def run(self, *arguments: str, **_: Any) -> str:
        if arguments[:2] == ("get", "--raw"):
            assert arguments[2] == "/api/v1/namespaces/here/pods/pod-0:8080/proxy/metrics"
            return f'errors_total{{why="{TOKEN}"}} 1'
        if "--previous" in arguments:
            return TOKEN
        return json.dumps({"items": [self.pod]}) if arguments[0] == "get" else "nothing"

    def logs(self, *, since: str) -> str:
        return f"nothing since {since}"


@pytest.mark.parametrize(
    ("restarts", "found"), [(0, ["pod-0/metrics: token"]), (1, ["pod-0/metrics: token", "pod-0's earlier log: token"])]
)
def test_the_look_after_each_test_has_metrics_and_the_log_before_a_restart(restarts: int, found: list[str]) -> None:
    texts = at_a_glance(cast("Any", Cluster(restarts=restarts)), since="then")
    assert leaks(texts, {"token": TOKEN}) == found
