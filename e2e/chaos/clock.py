"""Steps of the machine's clock.

The real one, so that everything on the machine sees it: etcd, the control plane, the kubelet and all pods. A pod has no
clock of its own (time namespaces have none for CLOCK_REALTIME), and a preloaded library would test a clock that
exists nowhere else. So steps are small, and taken back.
"""

from __future__ import annotations

import time
from collections.abc import Callable


def step(seconds: float) -> Callable[[], None]:
    """Set the clock so much ahead (or back). Returns what takes it back; needs root."""
    _set(seconds)
    return lambda: _set(-seconds)


def _set(seconds: float) -> None:
    time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME) + seconds)
