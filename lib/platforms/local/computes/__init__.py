"""Where a training runs: in this interpreter's environment, in one of its own, or on another machine."""

import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lib.errors import ReleaseError
from lib.platforms.base import Ask, Finding, Job, Place, Resource, Tell
from lib.platforms.local.computes import training
from lib.platforms.local.store import Store
from lib.settings import Settings

WHERE = ("vm_host", "vm_user", "vm_ssh_port", "vm_folder")  # a machine, and what is ours there


class Computes:
    """The computes of one workspace. What they need is imported where it is used: fabric alone takes half a second."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.root = settings.root
        self.env = settings.env
        self.chosen = settings.release.train.compute
        self.environments = settings.folder / "environments"
        self.store = store

    def check(self) -> Iterator[Finding]:
        """Check what the chosen compute needs; a machine is connected to only where it is the one that trains."""
        looks = {"env": self.look_here, "vm": self.look_there}
        what = {"env": "an environment for training", "vm": f"VM {self.env.vm_host}"}
        if look := looks.get(self.chosen):
            try:
                yield Finding(what=look())
            except ReleaseError as error:
                yield Finding(what=what[self.chosen], fix=str(error).replace("\n", ": "))

    def look_here(self) -> str:
        """Say with what an environment is built here. Raises ReleaseError where it cannot be."""
        from lib.platforms.local.computes import building, environments

        wanted = environments.read(self.root).plain
        if lacking := building.check(wanted):
            raise ReleaseError(lacking)
        return f"an environment for training: {building.describe(wanted)}"

    def look_there(self) -> str:
        """Describe the machine of .env. Raises ReleaseError where it cannot train."""
        from lib.platforms.local.computes import environments, vm

        return vm.look(environments.read(self.root), self.env)

    def attach(self, ask: Ask) -> str:
        """Look over the machine of .env, put it on record, and describe it."""
        from lib.platforms.local.computes import vm

        found = vm.attach(self.root, self.env, ask)
        self.put_on_record()
        return found

    def put_on_record(self) -> None:
        """Remember the machine of .env, for the day when what is ours there is removed."""
        self.store.put("machines", **{name: getattr(self.env, name) or "" for name in WHERE})

    def train(self, job: Job, folder: Path, tell: Tell) -> Place:
        """Run model/train.py on the job's compute, and say where that was. Raises ReleaseError where it fails."""
        if job.compute == "vm":
            from lib.platforms.local.computes import vm

            reached = self.put_on_record
            return vm.train(self.root, self.env, self.store.id, job, folder, tell, reached)
        script, arguments = self.root / "model" / "train.py", job.arguments(job.data)
        if job.compute == "env":
            from lib.platforms.local.computes import environments

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
            Resource(kind="compute", name=row["vm_host"], detail=f"{self.store.id} there, in {row['folders']}")
            for row in self.store.all(
                "SELECT vm_host, group_concat(DISTINCT vm_folder) AS folders FROM machines GROUP BY vm_host"
            )
        ]
        return made + attached

    def remove(self, name: str) -> str:
        """Remove an environment, or what is ours on a machine; return what of it has to stay."""
        rows = self.store.all("SELECT * FROM machines WHERE vm_host = ?", name)
        if rows:
            return "\n".join(filter(None, map(self.remove_there, rows)))
        shutil.rmtree(self.environments / name, ignore_errors=True)
        for suffix in ("lock", "log", "yml"):
            (self.environments / f"{name}.{suffix}").unlink(missing_ok=True)
        return ""

    def remove_there(self, row: dict[str, str]) -> str:
        """Remove what is ours on a machine on record, and forget it; return what has to stay there."""
        from lib.platforms.local.computes import vm

        given = {column: value or None for column, value in row.items()}
        left = vm.remove(msgspec.structs.replace(self.env, **given), self.store.id)
        self.store.do(
            "DELETE FROM machines WHERE vm_host = ? AND vm_user = ? AND vm_ssh_port = ? AND vm_folder = ?",
            *map(row.get, WHERE),
        )
        return left
