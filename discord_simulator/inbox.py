"""The receiver without sockets: requests in, answers out.

It understands both formats of the delivery contract. A request is recorded only as its last act before the answer, so
that what was not answered (because the receiver was told to fail, to hang or to stop) is never taken for delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from discord_simulator.digests import digest
from discord_simulator.receipts import Delivery, Receipts, Totals
from discord_simulator.wire import Answer, Request, answer, refused

_KEPT_HEADERS: Final = ("content-type", "user-agent", "content-length", "host")
_KEPT_PREFIXES: Final = ("x-gateway-", "webhook-")


class _Payload(msgspec.Struct):
    """A dispatch's envelope; ``d`` is looked at only where digests are made, and otherwise not even kept apart."""

    op: int = 0
    s: int | None = None
    t: str | None = None


class _BatchItem(msgspec.Struct, rename="camel"):
    shard: int
    session: str
    payload: _Payload
    maybe_duplicate: bool = False


class _WholePayload(_Payload):
    d: msgspec.Raw = msgspec.Raw(b"null")


class _WholeItem(_BatchItem, kw_only=True):
    payload: _WholePayload


class Behaviour(msgspec.Struct, rename="camel", kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What ``POST /control/behaviour`` takes. Each call replaces the whole; ``{}`` is a healthy receiver."""

    status: int = 204
    """2xx acknowledges and records; anything else records nothing."""
    delay_milliseconds: float = 0.0
    hang: bool = False
    """Never answer."""
    retry_after: float | None = None
    """Seconds, sent as ``Retry-After``."""
    poison: str | None = None
    """A request with a payload of this name is answered with ``poisonStatus`` and not recorded."""
    poison_status: int = 422


class ReceivedAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """``GET /control/received``."""

    totals: Totals
    requests: int
    """All deliveries asked of this process, whatever became of them."""
    failed: int
    """Those that were answered by other than 2xx."""
    unanswered: int
    """Those whose sender was gone before the answer; not recorded."""
    in_flight: int
    last_headers: dict[str, str]
    """Of the last delivery, names in lower case; credentials are left out."""
    behaviour: Behaviour


class Inbox:
    """*unix_milliseconds* is the clock of arrival times; with *digests* those of bodies are recorded too."""

    def __init__(self, *, receipts: Receipts, unix_milliseconds: Callable[[], int], digests: bool = False) -> None:
        self.receipts = receipts
        self._digests = digests
        self.behaviour = Behaviour()
        self._unix_milliseconds = unix_milliseconds
        self._requests = 0
        self._failed = 0
        self._unanswered = 0
        self._in_flight = 0
        self._last_headers: dict[str, str] = {}

    def control(self, request: Request) -> Answer:
        """Answer a call below ``/control``."""
        if (request.method, request.path) == ("GET", "/control/received"):
            if request.query.get("all") not in (None, "", "0"):
                return answer(self.receipts.received())
            return answer(self.state())
        if (request.method, request.path) == ("POST", "/control/behaviour"):
            try:
                self.behaviour = msgspec.json.decode(request.body or b"{}", type=Behaviour)
            except msgspec.DecodeError as problem:
                return refused(400, f"{request.path}: {problem}")
            return answer(self.behaviour)
        return refused(404, "Known are GET /control/received and POST /control/behaviour.")

    def state(self) -> ReceivedAnswer:
        return ReceivedAnswer(
            totals=self.receipts.totals,
            requests=self._requests,
            failed=self._failed,
            unanswered=self._unanswered,
            in_flight=self._in_flight,
            last_headers=self._last_headers,
            behaviour=self.behaviour,
        )

    def arrived(self, request: Request) -> Answer:
        """Decide on a delivery; ``accept`` is to be called once the answer's time has come, if it is a 2xx."""
        self._requests += 1
        self._in_flight += 1
        self._last_headers = {
            name: value
            for name, value in request.headers.items()
            if name in _KEPT_HEADERS or name.startswith(_KEPT_PREFIXES)
        }
        behaviour = self.behaviour
        headers = {} if behaviour.retry_after is None else {"retry-after": f"{behaviour.retry_after:g}"}
        return Answer(
            status=behaviour.status,
            headers=headers,
            after_seconds=behaviour.delay_milliseconds / 1000,
            hangs=behaviour.hang,
        )

    def finish(self, request: Request, planned: Answer, *, answerable: bool) -> Answer:
        """The last step before the answer is sent: record what it acknowledges.

        *answerable* is False when the sender has gone.
        """
        self._in_flight -= 1
        if not answerable:
            self._unanswered += 1
            return planned
        if 200 <= planned.status < 300:
            planned = self._record(request, planned)
        if not 200 <= planned.status < 300:
            self._failed += 1
        return planned

    def _record(self, request: Request, planned: Answer) -> Answer:
        try:
            deliveries = _deliveries(request, digests=self._digests)
        except (msgspec.DecodeError, ValueError) as problem:
            return refused(400, f"Neither a batch nor a single payload: {problem}")
        if any(delivery.name == self.behaviour.poison for delivery in deliveries):
            return refused(self.behaviour.poison_status, f"{self.behaviour.poison} is refused (simulated)")
        generation = request.headers.get("x-gateway-generation", "")
        self.receipts.record(deliveries, generation=generation, at=self._unix_milliseconds())
        return planned


def _deliveries(request: Request, *, digests: bool) -> list[Delivery]:
    """The payloads of a request. Raises ``msgspec.DecodeError``, or ``ValueError`` for a shard that is no number."""
    if not request.body.lstrip().startswith(b"["):
        payload = msgspec.json.decode(request.body, type=_WholePayload if digests else _Payload)
        return [
            _delivery(
                payload,
                session=request.headers.get("x-gateway-session", ""),
                shard=int(request.headers.get("x-gateway-shard", "0")),
                marked=request.headers.get("x-gateway-maybe-duplicate") == "true",
            )
        ]
    items: Sequence[_BatchItem] = msgspec.json.decode(
        request.body, type=list[_WholeItem] if digests else list[_BatchItem]
    )
    return [
        _delivery(item.payload, session=item.session, shard=item.shard, marked=item.maybe_duplicate) for item in items
    ]


def _delivery(payload: _Payload, *, session: str, shard: int, marked: bool) -> Delivery:
    return Delivery(
        session=session,
        sequence=payload.s or 0,
        shard=shard,
        name=payload.t or f"op {payload.op}",
        marked=marked,
        digest=digest(bytes(payload.d)) if isinstance(payload, _WholePayload) else None,
    )
