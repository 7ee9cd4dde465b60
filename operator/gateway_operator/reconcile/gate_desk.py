"""What a pass and the identify gate tell each other.

The gate serves whom it is told of: each pass renews a gateway's bearer token, its application and the generations
that may identify, and says how much of the session start limit is left. In return the pass hears which permits are held
back, and whether a session was refused for its token.
"""

from __future__ import annotations

from dataclasses import replace

from gateway_operator.cluster.port import Manifest
from gateway_operator.discord_api import token_fingerprint
from gateway_operator.identify.asks import Limits
from gateway_operator.identify.clients import GateClient, GateClients
from gateway_operator.identify.shared import gate_key
from gateway_operator.planning.observed import DiscordInfo, DiscordProblem, DiscordTrouble
from gateway_operator.reconcile.discord import Reading
from gateway_operator.reconcile.observe import Parsed, World, refused_by_session
from gateway_operator.reconcile.tokens import BotToken
from shard_runtime.contract import HeldBack


class GateDesk:
    """Between the passes of one operator and its gate."""

    def __init__(self, clients: GateClients) -> None:
        self._clients = clients

    # --- What the gate is told ----------------------------------------------------------------------------------------

    def tell(self, gateway: Parsed, world: World, token: BotToken, reading: Reading) -> None:
        """Who may ask for identify permits, and for which generations."""
        metadata, auth = gateway.metadata, world.auth
        record = world.record.record if world.record is not None else None
        if auth is None or record is None:
            return
        before = self._clients.get(metadata.namespace, metadata.name)
        if gateway.spec is None and before is not None:  # what runs goes on with what was last readable
            self._clients.put(replace(before, active=record.active, target=record.target))
            return
        self._clients.put(
            GateClient(
                namespace=metadata.namespace,
                gateway=metadata.name,
                bearer=auth.operator,
                bot_token="" if token.value is None else token_fingerprint(token.value),
                application=reading.application,
                active=record.active,
                target=record.target,
                reserve=0 if gateway.spec is None else gateway.spec.reshard.identify_reserve,
                stopped=_why_stopped(token, self.refused(gateway, token) or reading.problem),
                uid=metadata.uid,
                gate_url=_gate_url(gateway.manifest),
                gate_key="" if token.value is None else gate_key(token.value),
            )
        )

    def forget(self, namespace: str, name: str) -> None:
        """The gateway is gone: its pods get no more permits."""
        self._clients.remove(namespace, name)

    # --- What it knows ------------------------------------------------------------------------------------------------

    def discord_info(self, reading: Reading) -> DiscordInfo | None:
        """What Discord said, less the permits that it may not have counted; the gate hears of it first."""
        if reading.bot is None or reading.application is None:
            return None
        limit = reading.bot.session_start_limit
        self._clients.limits_read(
            reading.application,
            Limits(
                total=limit.total,
                remaining=limit.remaining,
                reset_at=reading.read_monotonic + limit.reset_after / 1000,
                max_concurrency=limit.max_concurrency,
                read_at=reading.read_monotonic,
            ),
        )
        remaining = self._clients.remaining(reading.application)
        return DiscordInfo(
            recommended_shards=reading.bot.shards,
            total=limit.total,
            remaining=limit.remaining if remaining is None else remaining,
            reset_at=reading.reset_at,
            max_concurrency=limit.max_concurrency,
            read_at=reading.read_at,
        )

    def held(self, gateway: Parsed) -> frozenset[HeldBack]:
        """What of the budget holds the gateway's permits back just now."""
        return self._clients.held(gateway.metadata.namespace, gateway.metadata.name)

    def refused(self, gateway: Parsed, token: BotToken) -> DiscordProblem | None:
        """A session was refused (4004), and the Secret has not changed since."""
        metadata = gateway.metadata
        reason = self._clients.refused(metadata.namespace, metadata.name)
        if reason is None or token.observed is None:
            return None
        return refused_by_session(
            f"{reason} Put the present one into Secret {metadata.namespace}/{token.observed.name}."
        )


def _gate_url(manifest: Manifest) -> str | None:
    """As it is written, even in a spec that cannot be read: permits of a wrong gate could cost the token."""
    identify = (manifest.get("spec") or {}).get("identify")
    url = identify.get("gateURL") if isinstance(identify, dict) else None
    return url if isinstance(url, str) and url else None


def _why_stopped(token: BotToken, problem: DiscordProblem | None) -> str | None:
    """Why no session may be started at all, None if they may."""
    if token.value is None:
        return "There is no bot token to identify with."
    if problem is not None and problem.kind is DiscordTrouble.TOKEN_REFUSED:
        return problem.message
    return None
