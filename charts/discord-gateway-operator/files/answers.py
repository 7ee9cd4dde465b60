"""What `helm test` runs in a pod: the operator answers, and refuses a stranger. Standard library only."""

import os
import sys
import time
import urllib.error
import urllib.request

URL = os.environ["OPERATOR_URL"]
DEADLINE = time.monotonic() + float(os.environ.get("TEST_SECONDS", "60"))
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(method: str, path: str) -> tuple[int, str]:
    request = urllib.request.Request(URL + path, data=b"{}" if method == "POST" else None, method=method)
    try:
        with OPENER.open(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def until(what: str, method: str, path: str, status: int, text: str = "") -> None:
    while True:
        found, body = call(method, path)
        if found == status and text in body:
            print(f"ok: {what}")
            return
        if time.monotonic() > DEADLINE:
            sys.exit(f"failed: {what}: {method} {path} answered {found} {body[:200]!r}, wanted {status} {text!r}")
        time.sleep(1)


until("the operator is ready", "GET", "/readyz", 200)
until("it shows metrics", "GET", "/metrics", 200, "discord_gateway_operator_leader")
until("a stranger gets no identify permit", "POST", "/v1/permits", 401)
until("a stranger gets no checkpoint", "GET", "/v1/checkpoints/1/0", 401)
