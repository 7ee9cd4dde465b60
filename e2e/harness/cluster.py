"""What the tests do to the cluster itself."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

E2E: Final = Path(__file__).parents[1]


def cluster(*arguments: str) -> str:
    """What ``cluster.sh`` prints. Raises ``CalledProcessError``."""
    return subprocess.run(
        [E2E / "cluster.sh", *arguments], check=True, capture_output=True, text=True, timeout=300
    ).stdout.strip()


def copy_image(image: str, *, tag: str) -> str:
    """An image of the cluster under another tag; returns its name."""
    copied = f"{image.rpartition(':')[0]}:{tag}"
    cluster("copy-image", image, copied)
    return copied


def install() -> None:
    """The present chart, whatever was installed before. Raises ``CalledProcessError``."""
    subprocess.run([E2E / "install.sh"], check=True, timeout=600)
