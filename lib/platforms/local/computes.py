"""Where a training runs: in this interpreter's environment, in one of its own, or on another machine."""

import platform
from collections.abc import Iterator
from pathlib import Path

from lib.errors import ReleaseError
from lib.platforms.base import Finding, Job, Place, Tell
from lib.platforms.local import training
from lib.settings import Environment


def train(root: Path, workspace: Path, environment: Environment, job: Job, folder: Path, tell: Tell) -> Place:
    """Run model/train.py on the compute of the job, and say where that was. Raises ReleaseError where it fails."""
    if job.compute == "vm":
        from lib.platforms.local import vm  # with fabric, which takes most of a second

        return vm.train(root, environment, job, folder, tell)
    script, arguments = root / "model" / "train.py", job.arguments(str(job.data) if job.data else None)
    if job.compute == "env":
        from lib.platforms.local import environments

        built = environments.ready(root, workspace / "environments", tell)
        training.train(script, arguments, folder, job.timeout_s, tell, built.interpreter)
        return Place(compute="env", host=platform.node(), python=built.python, environment=built.digest)
    training.train(script, arguments, folder, job.timeout_s, tell)
    return Place(compute="local", host=platform.node(), python=platform.python_version())


def check(compute: str, root: Path, environment: Environment) -> Iterator[Finding]:
    """Check what the chosen compute needs; a machine is connected to only where it is the one that trains."""
    if compute == "local":
        return
    from lib.platforms.local import building, environments, vm

    what = {"env": "an environment for training", "vm": f"VM {environment.vm_host}"}[compute]
    try:
        wanted = environments.read(root)
        if compute == "vm":
            yield Finding(what=vm.look(wanted, environment))
        else:
            lacking = building.check(wanted.plain)
            yield Finding(what=what if lacking else f"{what}: {building.describe(wanted.plain)}", fix=lacking)
    except ReleaseError as error:
        yield Finding(what=what, fix=str(error).replace("\n", ". "))
