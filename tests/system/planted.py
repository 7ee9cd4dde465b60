"""Bugs planted on purpose: each must be caught by simulated runs, or nobody looks at the promise that it breaks.

A bug is a few replaced attributes of the product, in force while :meth:`Planted.plant` is entered. Beside it stand
seeds that catch it, found with ``python -m system.seeds run 1-2000 --planted NAME``, and the promise that is broken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from system.bugs import delivery_bugs, handover_bugs, operator_bugs, permit_bugs
from system.bugs.planting import Planted

PLANTED: Final[Mapping[str, Planted]] = {
    **operator_bugs.BUGS,
    **permit_bugs.BUGS,
    **handover_bugs.BUGS,
    **delivery_bugs.BUGS,
}
