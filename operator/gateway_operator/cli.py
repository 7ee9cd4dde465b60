"""The ``dgw`` command. Parsing and errors for people here; what a command needs is imported when it runs."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

INVALID: Final = 2
"""Exit code for a manifest, a patch or a command line that a person must change."""
FAILED: Final = 1
DEFAULT_STATE: Final = Path(".dgw")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.WARNING,
        format="%(asctime)s  %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    command: Any = options.command
    try:
        return int(command(options))
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dgw", description="Discord gateway sessions as a resource.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    local = commands.add_parser(
        "local",
        help="run a manifest on this machine as processes, without Kubernetes",
        description="Runs the DiscordGateways of a file as local processes until Ctrl-C. A changed file is applied.",
    )
    local.add_argument("-f", "--filename", type=Path, metavar="FILE", help="YAML with DiscordGateways and Secrets")
    local.add_argument(
        "--handlers",
        type=Path,
        metavar="FILE",
        help="Python with should_reshard and reshard (handlers of the pods are named by spec.handlers)",
    )
    _add_common(local, defaults=True)
    local.set_defaults(command=_local)
    actions = local.add_subparsers(metavar="patch | status")
    patch = actions.add_parser("patch", help="change the spec of a running gateway, as kubectl patch would")
    patch.add_argument("-p", "--patch", required=True, metavar="JSON", help='such as {"spec":{"shards":{"count":16}}}')
    patch.add_argument("name", nargs="?", help="which DiscordGateway, where there are several")
    patch.add_argument("-n", "--namespace", help="its namespace")
    _add_common(patch, defaults=False)
    patch.set_defaults(command=_local_patch)
    status = actions.add_parser("status", help="print every gateway's status as JSON")
    _add_common(status, defaults=False)
    status.set_defaults(command=_local_status)
    return parser


def _add_common(parser: argparse.ArgumentParser, *, defaults: bool) -> None:
    # A subcommand's default would overwrite what stands before it, so only the outer one has defaults.
    state: Any = DEFAULT_STATE if defaults else argparse.SUPPRESS
    parser.add_argument("--state", type=Path, default=state, metavar="DIR", help="state directory (default: .dgw)")
    verbose: Any = False if defaults else argparse.SUPPRESS
    parser.add_argument("-v", "--verbose", action="store_true", default=verbose, help="log what is done")


def _local(options: argparse.Namespace) -> int:
    from gateway_hooks import HookLoadError
    from gateway_operator.hooking import load_hooks
    from gateway_operator.local.lock import StateInUseError, StateLock
    from gateway_operator.local.manifests import ManifestError, read_manifests
    from gateway_operator.local.watch import stamp_of
    from gateway_operator.ports import SystemClock

    if options.filename is None:
        return _complain(INVALID, "dgw local needs -f FILE, a manifest to run.")
    since = stamp_of(options.filename)
    try:
        manifests = read_manifests(options.filename)
    except ManifestError as error:
        return _complain(INVALID, *error.sentences)
    try:
        hooks = load_hooks(options.handlers, clock=SystemClock())
    except HookLoadError as error:
        return _complain(INVALID, str(error))
    state = options.state.absolute()
    try:
        with StateLock(state):
            from gateway_operator.local.run import LocalOptions, run_local

            local = LocalOptions(file=options.filename, state=state, write=_print, hooks=hooks)
            asyncio.run(run_local(local, manifests, since=since))
    except StateInUseError as error:
        return _complain(FAILED, str(error))
    except (OSError, ValueError) as error:
        return _complain(FAILED, f"{state} cannot be used: {error}")
    return 0


def _local_patch(options: argparse.Namespace) -> int:
    from gateway_operator.local.manifests import ManifestError
    from gateway_operator.local.remote import NotRunningError, RemoteError, patch_here, patch_running

    try:
        patch = json.loads(options.patch)
    except ValueError as error:
        return _complain(INVALID, f"The patch is not JSON: {error}.")
    state = options.state.absolute()
    try:
        try:
            name = patch_running(state, namespace=options.namespace, name=options.name, patch=patch)
        except NotRunningError:
            name = patch_here(state, namespace=options.namespace, name=options.name, patch=patch)
    except ManifestError as error:
        return _complain(INVALID, *error.sentences)
    except RemoteError as error:
        return _complain(FAILED, str(error))
    print(f"discordgateway.discordgateway.dev/{name} patched")
    return 0


def _local_status(options: argparse.Namespace) -> int:
    from gateway_operator.local.remote import RemoteError, stored_status

    try:
        print(json.dumps(stored_status(options.state.absolute()), indent=2))
    except RemoteError as error:
        return _complain(FAILED, str(error))
    return 0


def _print(line: str) -> None:
    """Print for the person who watches; that nobody does any more (``dgw local | head``) ends nothing."""
    with contextlib.suppress(BrokenPipeError):
        print(line, flush=True)


def _complain(code: int, *sentences: str) -> int:
    for sentence in sentences:
        print(f"error: {sentence}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
