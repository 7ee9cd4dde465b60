"""Settings of the property tests, for the whole tree.

No deadline: the time that an example takes says something of the machine, and speed is measured by ``make bench``. The
same examples in every run of ``make test``, so that a change is judged by what it changed; ``make verify`` draws anew.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("same", deadline=None, derandomize=True, database=None)
settings.register_profile("anew", deadline=None)
settings.load_profile("same")
