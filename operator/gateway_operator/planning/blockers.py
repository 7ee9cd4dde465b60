"""What must be in order before any session is started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway_operator.planning.hold import Hold
from gateway_operator.planning.observed import DiscordTrouble, Observation


def token_trouble(observation: Observation) -> Hold | None:
    """Why there is no token that Discord accepts, as far as is known."""
    return _secret(observation) or _refused(observation)


def blocker(observation: Observation) -> Hold | None:
    """The first reason not to start anything new; None when nothing stands against it."""
    for check in _CHECKS:
        found = check(observation)
        if found is not None:
            return found
    return None


def _paused(observation: Observation) -> Hold | None:
    if observation.spec is not None and observation.spec.paused:
        return Hold(reason="Paused", message="spec.paused is true; nothing new is started.")
    return None


def _secret(observation: Observation) -> Hold | None:
    spec, secret = observation.spec, observation.secret
    if spec is None:
        return None
    wanted = f"{observation.metadata.namespace}/{spec.token_secret_ref.name}"
    key = spec.token_secret_ref.key
    if secret is None:
        return Hold(reason="SecretUnreadable", message=f"Secret {wanted} could not be read.")
    if not secret.exists:
        return Hold(
            reason="SecretMissing",
            message=f"Secret {wanted} does not exist. Create it, or set spec.tokenSecretRef.name.",
        )
    if key not in secret.keys:
        keys = ", ".join(sorted(secret.keys)[:10]) or "none"
        return Hold(
            reason="SecretKeyMissing",
            message=f'Secret {wanted} has no key "{key}" (keys: {keys}). Set spec.tokenSecretRef.key.',
        )
    if not secret.usable:
        return Hold(reason="TokenEmpty", message=f'Key "{key}" of Secret {wanted} is empty. Put the bot token there.')
    return None


def _refused(observation: Observation) -> Hold | None:
    problem = observation.discord_problem
    if problem is not None and problem.kind is DiscordTrouble.TOKEN_REFUSED:
        return Hold(reason="TokenRefused", message=problem.message)
    return None


def _unreachable(observation: Observation) -> Hold | None:
    problem = observation.discord_problem
    if problem is not None:
        return Hold(reason="APIUnreachable", message=problem.message)
    return None


def _unread(observation: Observation) -> Hold | None:
    if observation.discord is None:
        return Hold(reason="ReadingAPI", message="Discord's API is being read.", refresh=True)
    return None


_CHECKS: Final[tuple[Callable[[Observation], Hold | None], ...]] = (_paused, _secret, _refused, _unreachable, _unread)
