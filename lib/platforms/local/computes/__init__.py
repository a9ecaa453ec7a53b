"""Where a training runs: in this interpreter's environment, in a separate one, or on another machine."""

import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lib.environment.model import ModelEnvironment
from lib.errors import ReleaseError
from lib.files import copy_sources
from lib.forks.client import environ_without
from lib.platforms.base import Ask, Finding, Job, Place, Resource, Tell
from lib.platforms.local.computes import training
from lib.platforms.local.store import Store
from lib.settings import Settings

WHERE = ("vm_host", "vm_user", "vm_ssh_port", "vm_folder")  # identifies our folder on a machine


class Computes:
    """The computes of one workspace. Their modules are imported late: a training on this machine needs none of them."""

    def __init__(self, settings: Settings, store: Store, environment: ModelEnvironment) -> None:
        self.environment = environment
        self.root = settings.root
        self.env = settings.env
        self.private = settings.private
        self.compute = settings.release.train.compute
        self.environments = settings.folder / "environments"
        self.store = store

    def check(self) -> Iterator[Finding]:
        """Check what train.compute needs; another machine only if that is where trainings run."""
        looks = {"env": self._look_here, "vm": self._look_there}
        what = {"env": "an environment for training", "vm": f"VM {self.env.vm_host}"}
        if look := looks.get(self.compute):
            try:
                yield Finding(what=look())
            except ReleaseError as error:
                yield Finding(what=what[self.compute], fix=str(error).replace("\n", ": "))

    def _look_here(self) -> str:
        """Return which programs build an environment here. Raises ReleaseError if one is missing."""
        from lib.environment import building
        from lib.platforms.local.computes import environments

        requirements = environments.read(self.root).plain
        if problem := building.check(requirements):
            raise ReleaseError(problem)
        return f"an environment for training: {building.describe(requirements)}"

    def _look_there(self) -> str:
        """Describe the machine of .env. Raises ReleaseError if it cannot train."""
        from lib.platforms.local.computes import environments, vm

        return vm.look(environments.read(self.root), self.env)

    def attach(self, ask: Ask) -> str:
        """Check the machine of .env, record it, and describe it."""
        from lib.platforms.local.computes import vm

        description = vm.attach(self.root, self.env, ask)
        self._record_machine()
        return description

    def _record_machine(self) -> None:
        """Record the machine of .env, so that `invoke destroy` can remove our folder there."""
        self.store.put("machines", **{name: getattr(self.env, name) or "" for name in WHERE})

    def train(self, job: Job, folder: Path, tell: Tell) -> Place:
        """Run model/train.py on the job's compute, and return the place. Raises ReleaseError if it fails."""
        if job.compute == "vm":
            from lib.platforms.local.computes import vm

            return vm.train(self.root, self.env, self.store.id, job, folder, tell, reached=self._record_machine)
        # In a copy of model/, as in Azure's snapshot: a script reads files beside it, and cannot change the originals.
        copy_sources(self.root / "model", folder)
        training.train(job, folder, tell, self.environment.python(), environ_without(self.private))
        python, environment = self.environment.python_version(), self.environment.lock.digest
        return Place(compute=job.compute, host=platform.node(), python=python, environment=environment)

    def resources(self) -> list[Resource]:
        """List the environments here, and the recorded machines."""
        here = [
            Resource(kind="compute", name=path.parent.name, detail=f"the environment {path.parent}")
            for path in sorted(self.environments.glob("*/environment.json"))
        ]
        elsewhere = [
            Resource(kind="compute", name=row["vm_host"], detail=f"{self.store.id} there, in {row['folders']}")
            for row in self.store.all(
                "SELECT vm_host, group_concat(DISTINCT vm_folder) AS folders FROM machines GROUP BY vm_host"
            )
        ]
        return here + elsewhere

    def remove(self, name: str) -> str:
        """Remove an environment, or our folders on a machine; return what could not be removed."""
        rows = self.store.all("SELECT * FROM machines WHERE vm_host = ?", name)
        if rows:
            return "\n".join(filter(None, map(self._remove_there, rows)))
        shutil.rmtree(self.environments / name, ignore_errors=True)
        for suffix in ("lock", "log", "yml"):
            (self.environments / f"{name}.{suffix}").unlink(missing_ok=True)
        return ""

    def _remove_there(self, row: dict[str, str]) -> str:
        """Remove our folder on a recorded machine, and its row; return what could not be removed."""
        from lib.platforms.local.computes import vm

        values = {column: value or None for column, value in row.items()}
        remains = vm.remove(msgspec.structs.replace(self.env, **values), self.store.id)
        self.store.do(
            "DELETE FROM machines WHERE vm_host = ? AND vm_user = ? AND vm_ssh_port = ? AND vm_folder = ?",
            *map(row.get, WHERE),
        )
        return remains
