"""Reads the bot's token and keeps the gateway's own bearer tokens, which are made once and never changed.

What is secret stays out of ``repr`` and so out of logs and tracebacks.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway_operator.api.gateway import Metadata
from gateway_operator.api.spec import Spec
from gateway_operator.cluster.port import SECRET, AlreadyExistsError, Cluster, ClusterError, Manifest
from gateway_operator.planning.observed import ObservedSecret
from gateway_operator.resources.naming import auth_name
from gateway_operator.resources.secrets import auth_secret

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BotToken:
    """The Secret that ``spec.tokenSecretRef`` names, as it is now."""

    observed: ObservedSecret | None
    """None when the Secret could not be read."""
    value: str | None = field(default=None, repr=False)
    """The token, None when there is no usable one."""
    version: str = ""
    """The Secret's resourceVersion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthTokens:
    """Bearer tokens of the gateway's Secret ``<name>-auth``."""

    operator: str = field(repr=False)
    bot: str = field(repr=False)


async def read_bot_token(cluster: Cluster, namespace: str, spec: Spec) -> BotToken:
    """Read the bot's token; never raises, a Secret that cannot be read is an observation."""
    reference = spec.token_secret_ref
    try:
        manifest = await cluster.get(SECRET, namespace, reference.name)
    except ClusterError as error:
        log.warning("Secret %s/%s could not be read: %s", namespace, reference.name, error)
        return BotToken(observed=None)
    if manifest is None:
        return BotToken(observed=ObservedSecret(name=reference.name, exists=False))
    data: Mapping[str, str] = manifest.get("data") or {}
    value = _decode(data.get(reference.key))
    observed = ObservedSecret(name=reference.name, exists=True, keys=tuple(sorted(data)), usable=value is not None)
    return BotToken(observed=observed, value=value, version=str(manifest["metadata"].get("resourceVersion", "")))


async def read_auth(cluster: Cluster, namespace: str, gateway: str) -> AuthTokens | None:
    """Read the gateway's bearer tokens; None while there are none. Raises :class:`ClusterError`."""
    return _auth(await cluster.get(SECRET, namespace, auth_name(gateway)))


async def ensure_auth(cluster: Cluster, owner: Metadata, *, new_token: Callable[[], str]) -> AuthTokens:
    """Read the gateway's bearer tokens, making them where there are none. Raises :class:`ClusterError`."""
    found = await cluster.get(SECRET, owner.namespace, auth_name(owner.name))
    tokens = _auth(found)
    if tokens is not None:
        return tokens
    made = AuthTokens(operator=new_token(), bot=new_token())
    manifest = auth_secret(owner, operator=made.operator, bot=made.bot)
    if found is not None:  # somebody emptied it: pods read the new ones from their mount
        await cluster.apply(manifest)
        return made
    try:
        await cluster.create(manifest)
    except AlreadyExistsError:
        present = _auth(await cluster.get(SECRET, owner.namespace, auth_name(owner.name)))
        if present is not None:
            return present
        raise
    return made


def _auth(manifest: Manifest | None) -> AuthTokens | None:
    data: Mapping[str, str] = (manifest or {}).get("data") or {}
    operator, bot = _decode(data.get("operator")), _decode(data.get("bot"))
    return AuthTokens(operator=operator, bot=bot) if operator is not None and bot is not None else None


def _decode(encoded: str | None) -> str | None:
    """The text of a Secret's value without surrounding white space; None when there is nothing usable."""
    if encoded is None:
        return None
    try:
        return base64.b64decode(encoded).decode().strip() or None
    except (binascii.Error, UnicodeDecodeError):
        return None
