"""The jobs of a pipeline: the steps of a release, split where a person or another machine may come in between."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from lib.release.records import EvaluationRecord, RunRecord, WebserviceRecord
from lib.release.steps import STEPS
from lib.release.steps.step import AnyStep

APPROVALS = {"aci": "staging", "aks": "production"}
HOURS = 60


@dataclass(frozen=True)
class PipelineJob:
    """A job, which runs on a machine that nothing else uses. `tasks` are invoke's arguments, in order.

    `needs` is the job whose records it continues from. A job with an `approval` waits for the reviewers of that
    environment of the CI system. The job that `decides` has the gate; the `gated` job after it is skipped if the gate
    holds the model. `restarts` are the tasks of earlier services, which end with their job's machine.
    `timeout_minutes` is only a backstop, since every wait in a task has its own limit.
    """

    name: str
    tasks: list[str]
    needs: str
    approval: str = ""
    trains: bool = False
    decides: bool = False
    gated: bool = False
    timeout_minutes: int = 2 * HOURS
    restarts: list[str] = field(default_factory=list)


def jobs() -> list[PipelineJob]:
    """Return the jobs of a release, in order.

    Training and the gate have a job each, and so has each service together with its test. A job for a later service
    first runs the tasks of the earlier ones again: they do nothing on a platform that keeps services running.
    """
    result: list[PipelineJob] = []
    for steps in _parts():
        first, last = steps[0], steps[-1]
        approval = APPROVALS.get(first.name, first.name) if _deploys(first) else ""
        result.append(
            PipelineJob(
                name=approval or last.name,
                tasks=[step.record.task for step in steps],
                needs=result[-1].name if result else "",
                approval=approval,
                trains=first.record is RunRecord,
                decides=first.record is EvaluationRecord,
                gated=bool(result) and result[-1].decides,
                timeout_minutes=(6 if first.record is RunRecord else 2) * HOURS,
                restarts=[task for job in result if job.approval for task in job.tasks] if approval else [],
            )
        )
    return result


def _parts() -> Iterator[list[AnyStep]]:
    part = [STEPS[0]]
    for before, step in itertools.pairwise(STEPS):
        if step.record is EvaluationRecord or before.record is EvaluationRecord or _deploys(step):
            yield part
            part = []
        part.append(step)
    yield part


def _deploys(step: AnyStep) -> bool:
    return issubclass(step.record, WebserviceRecord)
