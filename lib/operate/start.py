"""`invoke start`: bring services back as they were, once or, with --watch, whenever one ends."""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from lib.errors import RefusedError, ReleaseError
from lib.release.steps.deploy import service_of
from lib.release.steps.step import Context

POLL_S = 1.0
LONGEST_PAUSE_S = 60.0
TARGETS = ("aci", "aks")

Tell = Callable[[str], None]


def start(context: Context, targets: list[str]) -> Iterator[str]:
    """Start services, and yield a line about each. Raises ReleaseError if none was ever deployed."""
    services = [context.platform.services.start(service_of(context, target)) for target in targets]
    if not any(services):
        raise ReleaseError("no service was deployed yet\n`invoke release` deploys them")
    for service in services:
        if service:
            yield f"{service.scoring_uri} serves version {service.model_version}"


def plan(context: Context, targets: list[str]) -> Iterator[str]:
    """Yield for each service whether `start` would start it, and why."""
    for service in (service_of(context, target) for target in targets):
        state = context.platform.services.find(service)
        if state is None:
            yield f"{service.name} was never deployed"
        elif state.state == "serving":
            yield f"{service.name} serves version {state.model_version} already"
        else:
            yield f"Would start {service.name} with version {state.model_version}: {state.trouble}"


def watch(connect: Callable[..., AbstractContextManager[Context]], tell: Tell) -> None:
    """Start services that should run and do not, for ever. Services that `invoke stop` has stopped stay stopped.

    Settings are read again each time, so a release may change them meanwhile. A failure is reported once, not each
    time; the next attempt waits longer, so that a broken service does not keep the processor busy.
    """
    pause_s, reported, warnings = POLL_S, "", set[str]()

    def warn(line: str) -> None:
        if line not in warnings:
            warnings.add(line)
            tell(line)

    while True:
        try:
            with connect(warn=warn) as context:
                down = list(filter(functools.partial(_is_down, context), TARGETS))
            started = []
            if down:
                # Looked at again under the lock: during an update, a release may have stopped the old replicas.
                with connect(warn=warn, locked_by="start") as context:
                    started = [_start_again(context, target) for target in down if _is_down(context, target)]
            for line in started:
                tell(line)
            pause_s, reported = (min(2 * pause_s, LONGEST_PAUSE_S), "") if started else (POLL_S, "")
        except RefusedError:
            pass  # a task holds the workspace's lock: what it leaves is looked at next time
        except ReleaseError as error:
            if str(error) != reported:
                tell(str(error))
            pause_s, reported = min(2 * pause_s, LONGEST_PAUSE_S), str(error)
        time.sleep(pause_s)


def _start_again(context: Context, target: str) -> str:
    """Start a service that is down, and return a line about it."""
    service = context.platform.services.start(service_of(context, target))
    name = service_of(context, target).name
    return f"{name} was down; version {service.model_version} serves again" if service else f"{name} was removed"


def _is_down(context: Context, target: str) -> bool:
    service = context.platform.services.find(service_of(context, target))
    return service is not None and service.state == "down"
