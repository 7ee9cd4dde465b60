"""The mounted files of a pod: what they must hold, and a clear sentence when they do not.

Kubernetes swaps a symlink under a mounted ConfigMap or Secret, so modification times and inodes say little: the files
are small, and whoever wants to notice a change reads them again and compares the content.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from shard_runtime import contract
from shard_runtime.environment import SetupError
from shard_runtime.ports import Disk
from shard_runtime.protocol import payloads
from shard_runtime.signatures import Signer, SigningSecretError

COMPRESSIONS: Final = ("none", "payload", "zlib-stream", "zstd-stream")

LONGEST_TOKEN: Final = 100
"""Characters; Discord's have about 72."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Secrets:
    """What must never be logged (so it has no repr)."""

    token: str
    operator: str
    """Bearer token of the operator and of sibling pods."""
    bot: str | None
    """Bearer token of the bot: commands and status only."""
    signing: str | None = None
    """What requests to the receiver are signed with; None: they are not signed."""


class Mounts:
    """Reads the mounted files through the disk port.

    Every method raises :class:`SetupError` with one sentence that names the file when it is missing, unreadable or
    wrong.
    """

    def __init__(self, *, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk

    def config(self, pod: int) -> contract.RuntimeConfig:
        path = self._folder / "config" / "config.json"
        config = _decoded(path, self._bytes(path), contract.RuntimeConfig)
        _check_config(path, config, pod)
        return config

    def record(self) -> contract.Record | None:
        """The record; None as long as there is no such file."""
        path = self._folder / "record" / "record.json"
        data = self._optional_bytes(path)
        return None if data is None else _decoded(path, data, contract.Record)

    def forward(self) -> contract.ForwardConfig:
        path = self._folder / "forward" / "forward.json"
        return _decoded(path, self._bytes(path), contract.ForwardConfig)

    def handlers(self) -> str | None:
        """The text of the file with hooks; None where there is none."""
        path = self._folder / "config" / "handlers.py"
        data = self._optional_bytes(path)
        try:
            return None if data is None else data.decode()
        except UnicodeDecodeError as error:
            raise SetupError(f"{path} is not UTF-8 text (byte {error.start}).") from None

    def secrets(self) -> Secrets:
        bot = self._folder / "auth" / "bot"
        return Secrets(
            token=self._secret(self._folder / "token" / "token"),
            operator=self._secret(self._folder / "auth" / "operator"),
            bot=None if self._optional_bytes(bot) is None else self._secret(bot),
            signing=self._signing(self._folder / "signing" / "secret"),
        )

    def _signing(self, path: Path) -> str | None:
        data = self._optional_bytes(path)
        if data is None:
            return None
        secret = data.decode("ascii", errors="replace")
        try:
            Signer(secret)
        except SigningSecretError as error:
            raise SetupError(f"{path} {error}.") from None
        return secret

    def _secret(self, path: Path) -> str:
        # The text of what is wrong is never quoted here: it may be the better part of a token.
        data = self._bytes(path).strip()
        if not data:
            raise SetupError(f"{path} is empty; it must hold a token.")
        if not data.isascii() or any(byte <= 32 or byte == 127 for byte in data):
            raise SetupError(f"{path} holds characters that no token has; it must hold the token alone.")
        return data.decode("ascii")

    def _optional_bytes(self, path: Path) -> bytes | None:
        try:
            return self._disk.read(path)
        except OSError as error:
            raise SetupError(f"{path} cannot be read: {error.strerror or error}.") from error

    def _bytes(self, path: Path) -> bytes:
        data = self._optional_bytes(path)
        if data is None:
            raise SetupError(f"{path} does not exist; it must be mounted into the pod.")
        return data


def _decoded(path: Path, data: bytes, into: type[contract.WireType]) -> contract.WireType:
    try:
        return contract.decode(data, into)
    except msgspec.DecodeError as error:
        raise SetupError(f"{path} is not a valid {into.__name__}: {error}.") from error


def _check_config(path: Path, config: contract.RuntimeConfig, pod: int) -> None:
    layout = config.layout
    if config.contract != contract.CONTRACT_VERSION:
        raise SetupError(
            f"{path} is written for contract version {config.contract}, this image speaks {contract.CONTRACT_VERSION}; "
            "use operator and runtime images of the same release."
        )
    if not 0 <= layout.first <= layout.last < layout.count or layout.per_worker < 1 or layout.workers_per_pod < 1:
        raise SetupError(f"{path}: layout {layout.first}..{layout.last} of {layout.count} shards is not possible.")
    if pod >= layout.pods:
        raise SetupError(f"POD_INDEX is {pod}, but generation {config.generation} has only {layout.pods} pods.")
    if config.compression not in COMPRESSIONS:
        raise SetupError(f'{path}: compression "{config.compression}" is not one of {", ".join(COMPRESSIONS)}.')
    _check_identify(path, config)
    for name, url in (("apiURL", config.api_url), ("operatorURL", config.operator_url)):
        if not url.startswith(("http://", "https://")):
            raise SetupError(f'{path}: {name} "{url}" must begin with http:// or https://.')
    if config.gateway_url is not None and not config.gateway_url.startswith(("ws://", "wss://")):
        raise SetupError(f'{path}: gatewayURL "{config.gateway_url}" must begin with ws:// or wss://.')
    if not config.pod_url.startswith("file:") and not ("{generation}" in config.pod_url and "{pod}" in config.pod_url):
        raise SetupError(f'{path}: podURL "{config.pod_url}" must hold {{generation}} and {{pod}} or begin with file:.')


def _check_identify(path: Path, config: contract.RuntimeConfig) -> None:
    """Discord closes on a payload that is too long, and every try would cost a session start."""
    count = config.layout.count
    identify = payloads.identify(
        token="t" * LONGEST_TOKEN,
        shard=count,
        shard_count=count,
        intents=config.intents,
        options=config.identify,
        compress=True,
    )
    if len(identify) > payloads.LONGEST_SENT:
        raise SetupError(
            f"{path}: identify makes a payload of {len(identify)} bytes, of which Discord takes at most "
            f"{payloads.LONGEST_SENT}; shorten spec.identify.presence."
        )
