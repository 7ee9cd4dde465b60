"""Runs of many seeds over all cores, and what to do with one that fails.

::

    python -m system.seeds run 1-2000            # every seed of a range
    python -m system.seeds run 10001-            # without end, until a seed fails
    python -m system.seeds replay 1234           # one seed, with its whole trace
    python -m system.seeds shrink 1234           # to the fewest steps that break the same promise
    python -m system.seeds replay FILE           # a schedule, as ``shrink`` writes it

with ``tests`` on the path, as ``make replay SEED=1234`` and the other targets have it.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from system.planted import PLANTED
from system.schedule import Schedule, decode_schedule, draw_schedule
from system.shrink import Shrinker
from system.simulation import Report, simulate

TRIES: Final = 150
LONGEST_TRACE: Final = 60
"""Lines of a trace that are shown of a shrunk run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What is kept of one seed's run."""

    seed: int
    broken: tuple[str, ...]
    sent: int
    steps: int
    generations: int
    virtual_seconds: float
    cpu_seconds: float
    digest: str


def bug(name: str | None) -> AbstractContextManager[None]:
    """The planted bug of that name, in force while the context is entered."""
    return nullcontext() if name is None else PLANTED[name].plant()


def run_schedule(schedule: Schedule, planted: str | None = None) -> Report:
    return simulate(schedule, planted=lambda: bug(planted))


def run_seed(seed: int, planted: str | None = None) -> Result:
    """One seed, in this process."""
    began = time.process_time()
    report = run_schedule(draw_schedule(seed), planted)
    return Result(
        seed=seed,
        broken=report.broken,
        sent=report.numbers.sent,
        steps=report.struck,
        generations=report.generations,
        virtual_seconds=report.seconds,
        cpu_seconds=time.process_time() - began,
        digest=report.digest,
    )


def run_seeds(seeds: Iterable[int], *, jobs: int | None = None, planted: str | None = None) -> Iterator[Result]:
    """Results of *seeds* as they come, from as many processes as there are cores."""
    jobs = jobs or os.cpu_count() or 1
    remaining = iter(seeds)
    with pool(jobs) as workers:
        running: set[Future[Result]] = {
            workers.submit(run_seed, seed, planted) for seed in itertools.islice(remaining, 2 * jobs)
        }
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
            running |= {workers.submit(run_seed, seed, planted) for seed in itertools.islice(remaining, len(done))}


def pool(jobs: int) -> ProcessPoolExecutor:
    """Processes whose hashes are the same at every start, so that a seed is one run everywhere."""
    os.environ["PYTHONHASHSEED"] = "0"
    return ProcessPoolExecutor(
        max_workers=jobs, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=100
    )


def shrunk(schedule: Schedule, *, planted: str | None = None, tries: int = TRIES) -> tuple[Schedule, Report]:
    """The shortest schedule found that breaks a promise that *schedule* breaks, and its run."""
    promises = run_schedule(schedule, planted).promises

    def fails(candidate: Schedule) -> bool:
        return bool(promises & run_schedule(candidate, planted).promises)

    if not promises:
        return schedule, run_schedule(schedule, planted)
    shortest = Shrinker(fails, tries=tries).shrink(schedule)
    return shortest, run_schedule(shortest, planted)


def describe(report: Report, *, lines: int | None = None) -> str:
    """A run for a person to read."""
    trace = report.trace if lines is None else report.trace[-lines:]
    schedule = report.schedule
    return "\n".join(
        [
            *trace,
            "",
            f"seed {schedule.seed}: {report.numbers}, {report.seconds:.1f} s of virtual time, digest {report.digest}",
            f"  {schedule.setting}",
            *(f"  {step}" for step in schedule.steps),
            *(f"  BROKEN {sentence}" for sentence in report.broken),
        ]
    )


# --- From the command line --------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m system.seeds", description="Simulated runs of the whole system.")
    commands = parser.add_subparsers(required=True, dest="command")
    run = commands.add_parser("run", help="every seed of a range, such as 1-100, or 1- without end")
    run.add_argument("seeds")
    run.add_argument("--jobs", type=int)
    for name in ("replay", "shrink"):
        commands.add_parser(name).add_argument("seed", help="a seed, or a file with a schedule")
    for command in commands.choices.values():
        command.add_argument("--planted", choices=sorted(PLANTED), help="with a planted bug")
    options = parser.parse_args(arguments)
    if options.command == "run":
        return _run(options)
    schedule = _schedule(options.seed)
    if options.command == "replay":
        report = run_schedule(schedule, options.planted)
        print(describe(report))
        return 1 if report.broken else 0
    shortest, report = shrunk(schedule, planted=options.planted)
    print(describe(report, lines=LONGEST_TRACE))
    file = Path(f"seed-{schedule.seed}.json")
    file.write_bytes(shortest.encode())
    print(f"\nThe schedule is in {file}; replay it with: make replay SEED={file}")
    return 1 if report.broken else 0


def _schedule(text: str) -> Schedule:
    return draw_schedule(int(text)) if text.isdecimal() else decode_schedule(Path(text).read_bytes())


def _run(options: argparse.Namespace) -> int:
    first, dash, last = options.seeds.partition("-")
    seeds = range(int(first), int(last) + 1) if last else itertools.count(int(first)) if dash else [int(first)]
    began = time.monotonic()
    failed: list[Result] = []
    done = sent = steps = 0
    cpu = virtual = 0.0
    for result in run_seeds(seeds, jobs=options.jobs, planted=options.planted):
        done, sent, steps = done + 1, sent + result.sent, steps + result.steps
        cpu, virtual = cpu + result.cpu_seconds, virtual + result.virtual_seconds
        if result.broken:
            failed.append(result)
            print(f"seed {result.seed}: {result.broken[0]}", flush=True)
            if options.planted or not (last or not dash):
                break
        if done % 100 == 0:
            print(f"{done} seeds, {len(failed)} failed, {time.monotonic() - began:.0f} s", flush=True)
    print(
        f"{done} seeds, {len(failed)} failed: {virtual / 3600:.1f} h of virtual time, {sent} events, {steps} steps, "
        f"{cpu:.0f} s of CPU, {time.monotonic() - began:.0f} s"
    )
    for result in failed[:20]:
        print(f"make shrink SEED={result.seed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
