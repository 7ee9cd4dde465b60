"""What a pod's name says: ``bot-g2-0`` is of generation 2."""

from __future__ import annotations

import re
from typing import Final

_GENERATION: Final = re.compile(r"-g(\d+)-")


def generation_of(pod: str) -> int:
    """0 for what is no pod's name."""
    found = _GENERATION.search(pod)
    return 0 if found is None else int(found[1])
