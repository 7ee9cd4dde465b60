"""One gate for several operators: one bot's shards over several clusters share Discord's buckets and budget.

A gateway that names another operator (``spec.identify.gateURL``) gets its permits there. The two operators know each
other by what both have, the bot's token: each derives the same key from it, so no further secret has to be carried
around, and whoever lacks the token gets no permit of its application. While one of them has a rotated token already
and the other has not, pods wait; the token of before starts no session anyway. Where the other operator does not
answer, pods wait too: a permit that nobody gave is the one thing that must not be made up.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from typing import Final

import msgspec

from gateway_operator.identify.asks import Answer, Ask, Refused, ShardKey, Urgency
from gateway_operator.ports import HttpClient, HttpError
from shard_runtime.contract import HeldBack, Permit, PermitResult, PermitWait, Problem, Wire, WireType, decode, encode

log = logging.getLogger(__name__)

PATH: Final = "/v1/gate/permits"
TIMEOUT_SECONDS: Final = 1.5
"""A permit lives for 2 s from when the pod asked."""
AWAY_MILLISECONDS: Final = 2000
REMOTE: Final = "(another operator's)"
"""Stands for the namespace of another operator's gateways; no namespace is called so."""


class SharedRequest(Wire, frozen=True, kw_only=True):
    """``POST /v1/gate/permits``, from operator to operator. Answered as ``POST /v1/permits`` is."""

    gateway_uid: str = msgspec.field(name="gatewayUID")
    """Tells gateways of all clusters apart."""
    generation: int
    shard: int
    pod_uid: str = msgspec.field(name="podUID")
    recovery: bool
    reserve: int
    wish: str = ""
    attempt: int = 0


class SharedResult(Wire, frozen=True, kw_only=True):
    """``POST /v1/gate/permits/{id}/result``."""

    gateway_uid: str = msgspec.field(name="gatewayUID")
    result: PermitResult


def gate_key(bot_token: str) -> str:
    """What operators that have the same bot token authenticate with; gives the token away to nobody."""
    return hmac.new(bot_token.encode(), b"discord-gateway-operator: shared identify gate", hashlib.sha256).hexdigest()


def asked(request: SharedRequest, application: str) -> Ask:
    """The wish of another operator's pod, for our gate."""
    return Ask(
        application=application,
        key=ShardKey(REMOTE, request.gateway_uid, request.generation, request.shard),
        pod_uid=request.pod_uid,
        urgency=Urgency.RECOVERY if request.recovery else Urgency.RESHARD,
        reserve=request.reserve,
        wish=request.wish,
        attempt=request.attempt,
    )


class SharedGate:
    """The gates of other operators, as this one's pods reach them."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._said: dict[str, str] = {}

    async def request(self, ask: Ask, *, url: str, key: str, gateway_uid: str) -> Answer:
        """The other operator's answer, or to wait where there is none."""
        body = SharedRequest(
            gateway_uid=gateway_uid,
            generation=ask.key.generation,
            shard=ask.key.shard,
            pod_uid=ask.pod_uid,
            recovery=ask.urgency is Urgency.RECOVERY,
            reserve=ask.reserve,
            wish=ask.wish,
            attempt=ask.attempt,
        )
        status, answer = await self._post(url, PATH, key, body)
        if status == 200 and (permit := _decoded(answer, Permit)) is not None:
            self._note(url, "")
            return permit
        if status == 429 and (wait := _decoded(answer, PermitWait)) is not None:
            self._note(url, "")
            return wait
        problem = _decoded(answer, Problem)
        sentence = f"the shared identify gate answered {status}" if problem is None else problem.error
        if status == 409:
            return Refused(reason=sentence)
        self._note(url, sentence)
        return PermitWait(retry_after_milliseconds=AWAY_MILLISECONDS, reason=sentence, held=HeldBack.AWAY.value)

    async def result(self, permit_id: str, result: PermitResult, *, url: str, key: str, gateway_uid: str) -> bool:
        """Pass on what became of a permit; False where that has to be tried again."""
        body = SharedResult(gateway_uid=gateway_uid, result=result)
        status, _ = await self._post(url, f"{PATH}/{permit_id}/result", key, body)
        return status == 204

    async def _post(self, url: str, path: str, key: str, body: Wire) -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        try:
            answer = await self._http.request(
                "POST", url.rstrip("/") + path, headers=headers, body=encode(body), timeout=TIMEOUT_SECONDS
            )
        except HttpError as error:
            return 0, encode(Problem(error=f"The shared identify gate cannot be reached: {error}."))
        return answer.status, answer.body

    def _note(self, url: str, problem: str) -> None:
        """Log trouble and its end once: every shard of every pod meets the same."""
        if self._said.get(url, "") != problem:
            self._said[url] = problem
            if problem:
                log.warning("%s Identifies wait.", problem)
            else:
                log.info("The shared identify gate answers again.")


def _decoded(body: bytes, into: type[WireType]) -> WireType | None:
    try:
        return decode(body, into)
    except msgspec.DecodeError:
        return None
