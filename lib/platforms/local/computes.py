"""Where a training runs: in this interpreter's environment, in one of its own, or on another machine."""

import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lib.errors import RefusedError, ReleaseError
from lib.platforms.base import Ask, Finding, Job, Place, Resource, Tell
from lib.platforms.local import training
from lib.platforms.local.store import Store
from lib.settings import Settings


class Computes:
    """The computes of one workspace. What they need is imported where it is used: fabric alone takes half a second."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.root = settings.root
        self.environment = settings.environment
        self.chosen = settings.release.train.compute
        self.environments = settings.folder / "environments"
        self.store = store

    def check(self) -> Iterator[Finding]:
        """Check what the chosen compute needs; a machine is connected to only where it is the one that trains."""
        looks = {"env": self.look_here, "vm": self.look_there}
        what = {"env": "an environment for training", "vm": f"VM {self.environment.vm_host}"}
        if look := looks.get(self.chosen):
            try:
                yield Finding(what=look())
            except ReleaseError as error:
                yield Finding(what=what[self.chosen], fix=str(error).replace("\n", ": "))

    def look_here(self) -> str:
        """Say with what an environment is built here. Raises ReleaseError where it cannot be."""
        from lib.platforms.local import building, environments

        wanted = environments.read(self.root).plain
        if lacking := building.check(wanted):
            raise ReleaseError(lacking)
        return f"an environment for training: {building.describe(wanted)}"

    def look_there(self) -> str:
        """Describe the attached machine. Raises ReleaseError where it cannot train."""
        from lib.platforms.local import environments, vm

        self.must_be_attached()
        return vm.look(environments.read(self.root), self.environment)

    def attach(self, ask: Ask) -> str:
        """Look over the machine of .env, put it on record, and describe it."""
        from lib.platforms.local import vm

        found, given = vm.attach(self.root, self.environment, ask), self.environment
        self.store.put(
            "vms", host=given.vm_host, vm_user=given.vm_user, vm_ssh_port=given.vm_ssh_port, vm_folder=given.vm_folder
        )
        return found

    def must_be_attached(self) -> None:
        """Raise RefusedError where the machine of .env was not attached."""
        host = self.environment.vm_host
        if self.store.one("SELECT host FROM vms WHERE host = ?", host) is None:
            raise RefusedError(f"VM {host or 'of .env'} is not attached to the workspace\nRun `invoke attach`")

    def train(self, job: Job, folder: Path, tell: Tell) -> Place:
        """Run model/train.py on the job's compute, and say where that was. Raises ReleaseError where it fails."""
        if job.compute == "vm":
            from lib.platforms.local import vm

            self.must_be_attached()
            return vm.train(self.root, self.environment, job, folder, tell)
        script, arguments = self.root / "model" / "train.py", job.arguments(job.data)
        if job.compute == "env":
            from lib.platforms.local import environments

            built = environments.ready(self.root, self.environments, tell)
            training.train(script, arguments, folder, job.timeout_s, tell, built.interpreter)
            return Place(compute="env", host=platform.node(), python=built.python, environment=built.digest)
        training.train(script, arguments, folder, job.timeout_s, tell)
        return Place(compute="local", host=platform.node(), python=platform.python_version())

    def resources(self) -> list[Resource]:
        """List the environments here, and the machines that were attached."""
        made = [
            Resource(kind="compute", name=path.parent.name, detail=f"the environment {path.parent}")
            for path in sorted(self.environments.glob("*/environment.json"))
        ]
        attached = [
            Resource(kind="compute", name=row["host"], detail=f"{row['vm_folder']} there, if it can be reached")
            for row in self.store.all("SELECT * FROM vms ORDER BY host")
        ]
        return made + attached

    def remove(self, name: str) -> None:
        """Remove an environment, or what is ours on a machine."""
        if row := self.store.one("SELECT * FROM vms WHERE host = ?", name):
            from lib.platforms.local import vm

            vm.remove(msgspec.structs.replace(self.environment, vm_host=row.pop("host"), **row))
            self.store.do("DELETE FROM vms WHERE host = ?", name)
            return
        shutil.rmtree(self.environments / name, ignore_errors=True)
        for suffix in ("lock", "log", "yml"):
            (self.environments / f"{name}.{suffix}").unlink(missing_ok=True)
