"""Every call of a pod but probes and metrics needs its token: whatever calls there are, also those to come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runtime.served import BOT, OPERATOR, Served, serving

from shard_runtime import contract
from shard_runtime.admin.messages import Head
from shard_runtime.supervisor.surface import PROBES

FOR_THE_BOT: Final = {("GET", "/v1/status"), ("POST", "/v1/commands")}
WRONG: Final = {
    "none": None,
    "another": "Bearer another-secret",
    "empty": "Bearer ",
    "a part": f"Bearer {OPERATOR[:-1]}",
    "more": f"Bearer {OPERATOR}x",
    "no scheme": OPERATOR,
    "another scheme": f"Basic {OPERATOR}",
    "the bot's own": "Bot token",
    "twice": f"Bearer {OPERATOR}, Bearer {OPERATOR}",
    "odd bytes": "Bearer \xff\xfe",
}


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as found:
        yield found


def head(method: str, path: str, authorization: str | None) -> Head:
    headers = {"host": "pod", "content-length": "2"}
    return Head(method=method, path=path, headers=headers | ({"authorization": authorization} if authorization else {}))


async def test_there_are_calls_to_refuse(served: Served) -> None:
    routes = served.surface.routes
    assert len(routes) == len(set(routes)) > 10
    assert {path for _, path in routes} > PROBES


async def test_every_call_without_the_right_token_is_refused_over_the_wire(served: Served) -> None:
    for method, path in served.surface.routes:
        for token in (None, "another-secret", "token"):  # the last is the bot's own token for Discord
            status, body = await served.call(method, path, b"{}", token=token)
            assert (status == 401) == (path not in PROBES), (method, path, token)
            if path not in PROBES:
                assert "bearer token" in contract.decode(body, contract.Problem).error
    assert served.pod.role is contract.Role.STANDBY
    assert served.pod.record is None


async def test_no_spelling_of_a_wrong_token_is_taken(served: Served) -> None:
    for method, path in served.surface.routes:
        if path in PROBES:
            continue
        for name, authorization in WRONG.items():
            refusal = served.surface.refuse(head(method, path, authorization))
            assert refusal is not None, (method, path, name)
            assert refusal.status == 401, (method, path, name)
            assert OPERATOR.encode() not in refusal.body
        assert served.surface.refuse(head(method, path, f"Bearer {OPERATOR}")) is None


async def test_the_bots_token_reaches_what_is_for_the_bot_and_nothing_else(served: Served) -> None:
    reached = {
        (method, path)
        for method, path in served.surface.routes
        if path not in PROBES and served.surface.refuse(head(method, path, f"Bearer {BOT}")) is None
    }
    assert reached == FOR_THE_BOT


async def test_a_stranger_does_not_learn_which_calls_there_are(served: Served) -> None:
    known = served.surface.refuse(head("GET", "/v1/status", None))
    for method, path in (("GET", "/v1/nothing"), ("DELETE", "/v1/status"), ("GET", "/"), ("GET", "/v1/status/../x")):
        assert served.surface.refuse(head(method, path, None)) == known
    surface = served.surface

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True, database=None)
    @given(st.text(alphabet=st.characters(max_codepoint=255, min_codepoint=33), max_size=60))
    def check(rest: str) -> None:
        refusal = surface.refuse(head("GET", f"/{rest}", None))
        assert f"/{rest}" in PROBES or refusal == known

    check()


async def test_probes_take_only_get_and_tell_no_secret(served: Served) -> None:
    for path in sorted(PROBES):
        assert (await served.call("POST", path, b"{}", token=None))[0] == 405
        _, body = await served.call("GET", path, token=None)
        for secret in (OPERATOR, BOT, "token"):
            assert secret.encode() not in body.replace(b"bearer token", b"")
