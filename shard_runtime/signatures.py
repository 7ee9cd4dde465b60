"""Signs requests as Standard Webhooks says, so that any of its libraries verifies them.

What is signed is ``id.timestamp.body``. Id and body of a batch never change; the timestamp is that of the attempt,
since receivers refuse one that is five minutes old, and so every attempt is signed anew.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from typing import Final

PREFIX: Final = "whsec_"
ASYMMETRIC_PREFIX: Final = "whsk_"
SHORTEST_KEY: Final = 24
LONGEST_KEY: Final = 64
"""Bytes; the bounds that Standard Webhooks gives for a symmetric key."""
MOST_KEYS: Final = 8
HOW_TO_MAKE_ONE: Final = 'make one with: echo "whsec_$(openssl rand -base64 32)"'


class SigningSecretError(ValueError):
    """The text is no signing secret; the message is the end of a sentence and holds nothing of the text."""


class Signer:
    """Holds the keys (so it has no repr); each of them signs, which lets a receiver change from one to another."""

    __slots__ = ("_keys",)

    def __init__(self, secret: str) -> None:
        """*secret*: one or more secrets (``whsec_`` and base64, the prefix may be left out) with white space between.

        Raises :class:`SigningSecretError`.
        """
        words = secret.split()
        if not words:
            raise SigningSecretError(f"is empty; {HOW_TO_MAKE_ONE}")
        if len(words) > MOST_KEYS:
            raise SigningSecretError(f"holds {len(words)} secrets; at most {MOST_KEYS} can be in use at a time")
        self._keys = [_key(word) for word in words]

    def __repr__(self) -> str:
        return f"Signer({len(self._keys)} keys)"

    def headers(self, *, id: str, seconds: int, body: bytes) -> Mapping[str, str]:
        """The three headers for *body* sent at unix time *seconds*."""
        head = f"{id}.{seconds}.".encode()
        signatures = []
        for key in self._keys:
            mac = hmac.new(key, head, "sha256")
            mac.update(body)
            signatures.append("v1," + base64.b64encode(mac.digest()).decode())
        return {"webhook-id": id, "webhook-timestamp": str(seconds), "webhook-signature": " ".join(signatures)}


def _key(word: str) -> bytes:
    if word.startswith(ASYMMETRIC_PREFIX):
        raise SigningSecretError("holds an asymmetric key (whsk_); use a symmetric one (whsec_)")
    text = word.removeprefix(PREFIX)
    try:
        # without padding is usual, and the published libraries take it
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise SigningSecretError(f"is not base64; {HOW_TO_MAKE_ONE}") from None
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        raise SigningSecretError(
            f"holds a key of {len(key)} bytes, it must have {SHORTEST_KEY} to {LONGEST_KEY}; {HOW_TO_MAKE_ONE}"
        )
    return key
