"""Whom the gate serves: each gateway with its bearer token, its application and the generations that may identify.

The reconcile loop renews this on every pass; the gate's HTTP reads it. So a permit is given only to a generation that
the record names, and whoever has another gateway's token gets nothing.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from gateway_operator.identify.asks import Answer, Ask, Limits, Refused, ShardKey, Urgency
from gateway_operator.identify.gate import SILENCE_SECONDS, IdentifyGate
from gateway_operator.identify.held import HeldPermits
from gateway_operator.ports import Clock
from shard_runtime.contract import HeldBack, Permit, PermitOutcome, PermitRequest, PermitResult, PermitWait

log = logging.getLogger(__name__)

BEGINNING_SECONDS: Final = 30.0
"""The first pass over every gateway is over by then."""
MOUNT_LAG_SECONDS: Final = 90.0
"""A pod may use a token this long after the Secret holds another one: mounts follow within 75 s."""

_NOT_KNOWN_YET: Final = PermitWait(retry_after_milliseconds=1000, reason="Discord has not said yet whose token it is.")


@dataclass(frozen=True, slots=True, kw_only=True)
class GateClient:
    """A gateway as the gate knows it."""

    namespace: str
    gateway: str
    bearer: str = field(repr=False)
    """What its pods authenticate with."""
    bot_token: str = field(repr=False)
    """A fingerprint, empty while there is no token; only compared with the one of the pass before."""
    application: str | None
    """None while Discord has not said whose token it is."""
    active: int | None
    target: int | None
    reserve: int
    """Session starts that a reshard must leave."""
    stopped: str | None = None
    """Why no session may be started, whatever the gate says."""
    uid: str = ""
    """The resource's uid."""
    gate_url: str | None = None
    """The operator whose gate gives the permits; None: this one."""
    gate_key: str = field(default="", repr=False)
    """What operators authenticate with that share the gate of the gateway's bot; empty while there is no token."""


class GateClients:
    """The gate and whom it serves. To be used from one event loop."""

    def __init__(self, *, clock: Clock, incarnation: str, silent: bool = True) -> None:
        """*silent* False: nobody gave permits before this gate, so it need not wait for those it does not know."""
        self._clock = clock
        self._started = clock.monotonic()
        self._gate = IdentifyGate(now=self._started - (0.0 if silent else SILENCE_SECONDS), incarnation=incarnation)
        self._clients: dict[tuple[str, str], GateClient] = {}
        self._token_changed: dict[tuple[str, str], float] = {}
        self._held = HeldPermits()
        self.permits = 0
        """How many permits were given."""

    def begin(self, *, incarnation: str) -> None:
        """Begin anew, as an operator that has just become the leader: nothing that was known holds any more."""
        self._started = self._clock.monotonic()
        self._gate = IdentifyGate(now=self._started, incarnation=incarnation)
        self._clients.clear()
        self._token_changed.clear()
        self._held = HeldPermits()

    def may_be_unknown_yet(self, namespace: str, gateway: str) -> bool:
        """Whether the gateway may exist although no pass over it has told of it: this operator has just begun."""
        return (namespace, gateway) not in self._clients and self.beginning

    @property
    def beginning(self) -> bool:
        """Whether there may be gateways that no pass has told of yet."""
        return self._clock.monotonic() < self._started + BEGINNING_SECONDS

    # --- Told by the reconcile loop ----------------------------------------------------------------------------------

    def put(self, client: GateClient) -> None:
        """Serve the gateway as it is now."""
        key = (client.namespace, client.gateway)
        before = self._clients.get(key)
        if before is not None and not client.bot_token:  # not readable just now, which is no change
            client = replace(client, bot_token=before.bot_token, gate_key=before.gate_key)
        if before is not None and before.bot_token and before.bot_token != client.bot_token:
            log.info("%s: the Secret holds another bot token", client.gateway)
            self._token_changed[key] = self._clock.monotonic()
            self._gate.token_changed(*key)
        self._clients[key] = client

    def remove(self, namespace: str, gateway: str) -> None:
        self._clients.pop((namespace, gateway), None)
        self._token_changed.pop((namespace, gateway), None)
        self._held.forget((namespace, gateway))
        self._gate.token_changed(namespace, gateway)

    def limits_read(self, application: str, limits: Limits) -> None:
        self._gate.limits_read(self._clock.monotonic(), application, limits)

    def remaining(self, application: str) -> int | None:
        """Session starts left, permits that Discord may not have counted yet subtracted."""
        return self._gate.remaining(self._clock.monotonic(), application)

    def refused(self, namespace: str, gateway: str) -> str | None:
        """Why the gateway's identifies are stopped since a session was refused; None while they are not."""
        return self._gate.stopped(namespace, gateway)

    def held(self, namespace: str, gateway: str) -> frozenset[HeldBack]:
        """What of the budget holds the gateway's permits back just now."""
        return self._held.of(self._clock.monotonic(), (namespace, gateway))

    # --- Asked by pods -----------------------------------------------------------------------------------------------

    def get(self, namespace: str, gateway: str) -> GateClient | None:
        return self._clients.get((namespace, gateway))

    def authenticated(self, bearer: str) -> GateClient | None:
        """The gateway whose bearer token it is; every one is compared, in constant time each."""
        found = None
        for client in self._clients.values():
            if hmac.compare_digest(client.bearer.encode(), bearer.encode(errors="surrogateescape")):
                found = client
        return found

    def result_of(self, permit_id: str, result: PermitResult, namespace: str, gateway: str) -> bool:
        """Take note of what became of a permit of this gate; False when it is not known to be that gateway's."""
        return self._gate.result(self._clock.monotonic(), permit_id, result, namespace=namespace, gateway=gateway)

    def sharing(self, key: str) -> GateClient | None:
        """The gateway whose gate is here, and for whose bot another operator that has its token asks with *key*."""
        found = None
        for client in self._clients.values():
            own = client.gate_key and client.gate_url is None
            if own and hmac.compare_digest(client.gate_key.encode(), key.encode(errors="surrogateescape")):
                found = client if found is None or found.application is None else found
        return found

    def admit_shared(self, client: GateClient, ask: Callable[[str], Ask]) -> Ask | PermitWait | Refused:
        """The same as :meth:`admit` for another operator's pod; *client* is our gateway of the same bot."""
        if client.application is None:
            return _NOT_KNOWN_YET
        refused = self._gate.stopped(client.namespace, client.gateway)  # of the token that the other one has too
        return ask(client.application) if refused is None else Refused(reason=refused)

    def gateway_of(self, bearer: str) -> tuple[str, str] | None:
        """Namespace and name of the gateway whose bearer token it is."""
        client = self.authenticated(bearer)
        return None if client is None else (client.namespace, client.gateway)

    def admit(self, client: GateClient, wish: PermitRequest) -> Ask | PermitWait | Refused:
        """What to ask the gate for, or why it is not asked."""
        if wish.generation == client.active:
            urgency = Urgency.RECOVERY
        elif wish.generation == client.target:
            urgency = Urgency.RESHARD
        else:
            return Refused(reason=f"Generation {wish.generation} is neither active nor the target.")
        if client.stopped is not None:
            return Refused(reason=client.stopped)
        if client.application is None:
            return _NOT_KNOWN_YET
        refused = self._gate.stopped(client.namespace, client.gateway)
        if refused is not None:
            return Refused(reason=refused)
        return Ask(
            application=client.application,
            key=ShardKey(client.namespace, client.gateway, wish.generation, wish.shard),
            pod_uid=wish.pod_uid,
            urgency=urgency,
            reserve=client.reserve,
            wish=wish.wish,
            attempt=wish.attempt,
        )

    def ask(self, ask: Ask) -> Answer:
        """A permit, or why not (:class:`Refused`) or when to ask again."""
        answer = self._gate.request(self._clock.monotonic(), ask)
        if isinstance(answer, Permit):
            self.permits += 1
            key = ask.key
            log.debug("%s: permit %s for shard %d of generation %d", key.gateway, answer.id, key.shard, key.generation)
        return answer

    def answered(self, client: GateClient, answer: Answer) -> bool:
        """Take note of what a pod of the gateway was told; True where a pass should tell people of it."""
        now, key = self._clock.monotonic(), (client.namespace, client.gateway)
        if isinstance(answer, PermitWait):
            self._held.note(now, key, answer.held)
        return self._held.is_news(now, key)

    def result(self, client: GateClient, permit_id: str, result: PermitResult) -> bool:
        """Take note of what became of a permit; True when it was refused for its token, which a pass should see."""
        key = (client.namespace, client.gateway)
        changed = self._token_changed.get(key, float("-inf"))
        if result.outcome is PermitOutcome.TOKEN_REFUSED and self._clock.monotonic() < changed + MOUNT_LAG_SECONDS:
            # The pod may still have had the token of before, and the new one must not be stopped for it.
            result = msgspec.structs.replace(result, outcome=PermitOutcome.REJECTED)
        if client.gate_url is not None:  # the permit is another gate's; that the token is refused is ours to know
            known = True
            if result.outcome is PermitOutcome.TOKEN_REFUSED:
                self._gate.stop(*key)
        else:
            known = self.result_of(permit_id, result, *key)
        refused = known and result.outcome is PermitOutcome.TOKEN_REFUSED
        if refused:
            log.error(
                "%s: Discord refused the bot token (4004); no session is started before the Secret changes", key[1]
            )
        return refused
