"""The jobs of a pipeline: the release's own steps, apart where something from outside comes between them."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from lib.release.records import EvaluationRecord, RunRecord, WebserviceRecord
from lib.release.steps import STEPS
from lib.release.steps.step import AnyStep

ENVIRONMENTS = {"aci": "staging", "aks": "production"}
HOURS = 60


@dataclass(frozen=True)
class Job:
    """A job on a machine of its own. `tasks` are what `invoke` is called with, one after the other.

    `needs` is the job whose records it goes on from, `environment` what a deployment needs leave for. After the job
    that `decides`, the one that is `gated` may be skipped. `timeout_minutes` is the last resort: all that tasks wait
    for has limits of its own.
    """

    name: str
    tasks: list[str]
    needs: str
    environment: str = ""
    trains: bool = False
    decides: bool = False
    gated: bool = False
    timeout_minutes: int = 2 * HOURS
    again: list[str] = field(default_factory=list)


def jobs() -> list[Job]:
    """Return the jobs of a release, in order.

    Training has one for itself, and so has the gate, after which a pipeline may end. Each service has one with its
    test, as leave is asked for it. Services of earlier jobs are brought up and tested `again` first: where they still
    serve nothing happens, and on a machine that was thrown away they start from the same image.
    """
    made: list[Job] = []
    for steps in parts():
        first, last = steps[0], steps[-1]
        environment = ENVIRONMENTS.get(first.name, first.name) if deploys(first) else ""
        made.append(
            Job(
                name=environment or last.name,
                tasks=[step.record.task for step in steps],
                needs=made[-1].name if made else "",
                environment=environment,
                trains=first.record is RunRecord,
                decides=first.record is EvaluationRecord,
                gated=bool(made) and made[-1].decides,
                timeout_minutes=(6 if first.record is RunRecord else 2) * HOURS,
                again=[task for job in made if job.environment for task in job.tasks] if environment else [],
            )
        )
    return made


def parts() -> Iterator[list[AnyStep]]:
    """Split the steps into jobs."""
    begun = [STEPS[0]]
    for before, step in itertools.pairwise(STEPS):
        if step.record is EvaluationRecord or before.record is EvaluationRecord or deploys(step):
            yield begun
            begun = []
        begun.append(step)
    yield begun


def deploys(step: AnyStep) -> bool:
    """Tell whether a step deploys a service."""
    return issubclass(step.record, WebserviceRecord)
