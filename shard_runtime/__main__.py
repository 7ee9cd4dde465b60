"""``python -m shard_runtime``: one pod of a generation (its supervisor, which starts the workers)."""

import sys

from shard_runtime.supervisor.main import main

if __name__ == "__main__":
    sys.exit(main())
