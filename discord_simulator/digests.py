"""What a body says in 64 bits, so that what was sent can be compared with what came without keeping either.

A session may be sent its keys in another order than the event was made with, so the digest is of the sorted body.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

import msgspec


@lru_cache(maxsize=4096)
def digest(body: bytes) -> int:
    """The digest of a ``d``, the same for any order of its keys. Raises ``msgspec.DecodeError``.

    Remembered for a while, since most bodies come with the keys in the order in which they were sent.
    """
    in_order = msgspec.json.encode(msgspec.json.decode(body), order="sorted")
    return int.from_bytes(blake2b(in_order, digest_size=8).digest(), "big")
