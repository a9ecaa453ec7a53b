"""Measure how fast releases and services are, as ratios in one run: `python -m tests.bench`."""

import argparse
import dataclasses
import datetime
import json
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tabulate import tabulate

from tests.bench import releases, serving
from tests.bench.measure import Result

CASES: dict[str, Callable[[int], Iterator[Result]]] = {
    "list": releases.listing,
    "image": releases.first_image,
    "release": releases.first_release,
    "nothing": releases.nothing_changed,
    "start": serving.start,
    "large": releases.large_workspace,
    "requests": serving.requests,
    "rows": serving.many_rows,
}
HEADERS = ["ours / the other", "ours", "the other", "ratio", "target", ""]


def main() -> None:
    """Measure the chosen cases and print their table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how many times each (5)")
    parser.add_argument("--only", choices=CASES, help="measure only this")
    parser.add_argument("--json", type=Path, help="write every single number to this file, too")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    results: list[Result] = []
    try:
        for name in [arguments.only] if arguments.only else CASES:
            print(f"{name} ...", file=sys.stderr, flush=True)  # noqa: T201 - progress
            for result in CASES[name](arguments.rounds):
                print(f"{name}: {result.ratio:.2f}", file=sys.stderr, flush=True)  # noqa: T201 - progress
                results.append(result)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        print(f"{about()}\n\n{tabulate([one.row() for one in results], HEADERS, disable_numparse=True)}")  # noqa: T201
        if arguments.json:
            arguments.json.write_text(json.dumps({"about": about(), "results": list(map(plain, results))}, indent=2))


def interrupt(_number: int, _frame: Any) -> None:
    """End by an exception, so that everything is cleaned up; a second Ctrl-C does not disturb that."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def plain(result: Result) -> dict[str, Any]:
    """Return a result for machines."""
    return dataclasses.asdict(result) | {"ratio": result.ratio, "met": result.met}


def about() -> str:
    """Say when and where this was measured."""
    python, cores, load = platform.python_version(), os.cpu_count(), os.getloadavg()[2]
    shown = "medians in turn; half of the rounds are within ±"
    return f"{datetime.date.today()}, Python {python}, {cores} cores, load {load:.1f} in the last 15 minutes; {shown}"


if __name__ == "__main__":
    main()
