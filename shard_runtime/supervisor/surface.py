"""The pod's HTTP calls: who may make them, what they carry, what they answer."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from shard_runtime import contract
from shard_runtime.admin.messages import Answer, Head, answer, bearer_is, problem
from shard_runtime.supervisor.commands import CommandDesk
from shard_runtime.supervisor.metrics import render_metrics
from shard_runtime.supervisor.pod import Pod, RefusedError, StaleRecordError
from shard_runtime.supervisor.workers import UnavailableError

PROBES: Final = frozenset({"/livez", "/readyz", "/metrics"})
FOR_THE_BOT: Final = frozenset({"/v1/status", "/v1/commands"})


_CHECKPOINT: Final = re.compile(r"/v1/checkpoints/(?P<generation>\d{1,9})/(?P<pod>\d{1,9})")


class _NotUnderstoodError(Exception):
    pass


class RecordRefused(contract.Record, frozen=True, kw_only=True):
    """The body of a 409 to ``PUT /v1/record``: the record that the pod follows, and why it keeps it."""

    error: str


class Surface:
    """Serves a :class:`Pod`; an :class:`shard_runtime.admin.messages.Application`."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._calls: dict[str, dict[str, Callable[[bytes], Awaitable[Answer]]]] = {
            "/livez": {"GET": self._live},
            "/readyz": {"GET": self._ready},
            "/metrics": {"GET": self._metrics},
            "/v1/status": {"GET": self._status},
            "/v1/record": {"GET": self._get_record, "PUT": self._put_record},
            "/v1/forward": {"PUT": self._put_forward},
            "/v1/handover/window": {"POST": self._window},
            "/v1/handover/seal": {"POST": self._seal},
            "/v1/handover/received": {"POST": self._received},
            "/v1/commands": {"POST": CommandDesk(pod).take},
            "/v1/checkpoints": {"POST": self._keep_checkpoint},
        }

    @property
    def routes(self) -> list[tuple[str, str]]:
        """Every call there is, as its method and its path, or an example of it."""
        fixed = [(method, path) for path, methods in self._calls.items() for method in methods]
        return [*fixed, ("GET", "/v1/checkpoints/1/0")]

    def refuse(self, head: Head) -> Answer | None:
        # Leave comes before everything else, so that a stranger does not learn which calls there are.
        if head.path not in PROBES and not self._may(head):
            return problem(
                401,
                "This call needs the bearer token of the gateway's Secret.",
                headers={"www-authenticate": "Bearer"},
            )
        methods = self._methods(head)
        if methods is None:
            return problem(404, f"There is no call {head.path}.")
        if head.method not in methods:
            return problem(405, f"{head.path} takes {' and '.join(methods)}.", headers={"allow": ", ".join(methods)})
        return None

    def _methods(self, head: Head) -> dict[str, Callable[[bytes], Awaitable[Answer]]] | None:
        found = _CHECKPOINT.fullmatch(head.path)
        if found is not None:
            generation, pod = int(found["generation"]), int(found["pod"])
            return {"GET": lambda body: self._get_checkpoint(generation, pod)}
        return self._calls.get(head.path)

    def _may(self, head: Head) -> bool:
        secrets = self._pod.secrets
        operator = bearer_is(head, secrets.operator)
        bot = bearer_is(head, secrets.bot)
        return operator or (bot and head.path in FOR_THE_BOT)

    async def respond(self, head: Head, body: bytes) -> Answer:
        try:
            methods = self._methods(head) or {}
            return await methods[head.method](body)
        except _NotUnderstoodError as error:
            return problem(400, f"The body is not what {head.path} takes: {error}.")
        except RefusedError as error:
            return problem(409, str(error))
        except UnavailableError as error:
            return problem(503, str(error), headers={"retry-after": "1"})
        except OSError as error:
            return problem(507, f"The pod's state cannot be written: {error.strerror or error}.")

    async def _live(self, body: bytes) -> Answer:
        return Answer(status=200, body=b"ok\n", content_type="text/plain")

    async def _ready(self, body: bytes) -> Answer:
        if await self._pod.ready():
            return Answer(status=200, body=b"ok\n", content_type="text/plain")
        return Answer(status=503, body=b"shards are still connecting\n", content_type="text/plain")

    async def _metrics(self, body: bytes) -> Answer:
        status = await self._pod.status()
        text = render_metrics(status, self._pod.measures(), gateway=self._pod.config.gateway)
        return Answer(status=200, body=text.encode(), content_type="text/plain; version=0.0.4; charset=utf-8")

    async def _status(self, body: bytes) -> Answer:
        return answer(await self._pod.status())

    async def _get_record(self, body: bytes) -> Answer:
        record = self._pod.record
        return problem(404, "The pod has seen no record yet.") if record is None else answer(record)

    async def _put_record(self, body: bytes) -> Answer:
        try:
            await self._pod.adopt_record(_decoded(body, contract.Record))
        except StaleRecordError as error:
            current = {name: getattr(error.current, name) for name in error.current.__struct_fields__}
            return answer(RecordRefused(error=str(error), **current), status=409)
        record = self._pod.record
        assert record is not None
        return answer(record)

    async def _put_forward(self, body: bytes) -> Answer:
        forward = _decoded(body, contract.ForwardConfig)
        await self._pod.adopt_forward(forward)
        return answer(forward)

    async def _keep_checkpoint(self, body: bytes) -> Answer:
        self._pod.keep_checkpoint(_decoded(body, contract.Checkpoint))
        return Answer(status=204)

    async def _get_checkpoint(self, generation: int, pod: int) -> Answer:
        found = self._pod.checkpoint(generation, pod)
        return problem(404, "Nothing is kept of that pod.") if found is None else answer(found)

    async def _window(self, body: bytes) -> Answer:
        return answer(await self._pod.window(_decoded(body, contract.HandoverRequest)))

    async def _seal(self, body: bytes) -> Answer:
        return answer(await self._pod.seal(_decoded(body, contract.HandoverRequest)))

    async def _received(self, body: bytes) -> Answer:
        return answer(await self._pod.received(_decoded(body, contract.ReceivedRequest)))


def _decoded(body: bytes, into: type[contract.WireType]) -> contract.WireType:
    try:
        return contract.decode(body, into)
    except msgspec.DecodeError as error:
        raise _NotUnderstoodError(str(error)) from error
