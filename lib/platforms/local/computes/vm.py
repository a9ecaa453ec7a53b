"""Train on another machine: what it needs is sent there, and what it leaves is brought back into the run here."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from lib.errors import RefusedError, ReleaseError
from lib.files import digest_file, source_files
from lib.platforms.base import Ask, Job, Place, Tell
from lib.platforms.local.computes import building, environments, ssh
from lib.platforms.local.computes.environments import BUILD_TIMEOUT_S, Built, Wanted
from lib.platforms.local.computes.remote import Remote, far_side
from lib.platforms.local.computes.training import LEASED, Ended, check
from lib.platforms.outputs import OUTPUTS
from lib.settings import Env

MEGABYTE = 1 << 20
NEEDED_MB = 500
Reached = Callable[[], None]


class Training:
    """A run's folder on that machine; it is gone when the connection is."""

    def __init__(self, remote: Remote, name: str) -> None:
        self.remote = remote
        self.run = f"runs/{name}"
        self.folder = PurePosixPath(remote.ask("open", run=name)).parents[1]
        remote.upload(Path(building.__file__), f"{self.run}/building.py")

    def execute(self, command: list[str], limit_s: float, tell: Tell) -> Ended:
        """Run a Python script there, under the same leash as here."""
        python, *rest = command
        last = ""

        def line(text: str) -> None:
            nonlocal last
            last = text.strip() or last
            tell(text)

        try:
            code = self.remote.ask("run", line, limit_s, command=[python, "-u", "-c", LEASED, *rest])
        except TimeoutError:
            return Ended(code=0, last=last, late=True)
        return Ended(code=code, last=last, late=False)

    def send_model(self, model: Path) -> None:
        """Send the files of model/ that a user wrote."""
        for path in source_files(model):
            self.remote.upload(path, f"{self.run}/model/{path.relative_to(model).as_posix()}")

    def send_data(self, data: Path, sha256: str, tell: Tell) -> str:
        """Send the user's data unless it is there, and return where."""
        kept = f"data/{sha256}/{data.name}"
        if not self.remote.ask("has", path=kept):
            tell(f"sends {data.name}, {data.stat().st_size / MEGABYTE:.1f} MB")
            self.remote.upload(data, f"{self.run}/data")
            if not self.remote.ask("keep", path=f"{self.run}/data", sha256=sha256, place=kept):
                raise ReleaseError(f"{data} changed while it was sent to {self.remote.host}\nTry again")
        return str(self.folder / kept)

    def build(self, wanted: Wanted, log: Path, tell: Tell) -> Built:
        """Return the environment there, built where it is missing."""
        place = Path(self.folder / "environments" / wanted.digest)
        ended = self.execute(["", "building.py", str(place), wanted.json], BUILD_TIMEOUT_S, tell)
        if ended.late or ended.code:
            why = ended.last if ended.code else f"it took longer than {BUILD_TIMEOUT_S:g} s"
            raise ReleaseError(
                f"environment {wanted.digest} could not be built on {self.remote.host}: {why}\nThe log is {log}"
            )
        marker = self.remote.part(f"environments/{wanted.digest}/{building.MARKER}", 0)
        return environments.built(place, marker.decode())

    def fetch_outputs(self, outputs: Path) -> None:
        """Bring back what the training wrote."""
        outputs.mkdir()
        for filename in OUTPUTS:
            self.remote.download(f"{self.run}/outputs/{filename}", outputs / filename)


def train(root: Path, env: Env, workspace: str, job: Job, folder: Path, tell: Tell, reached: Reached) -> Place:
    """Run model/train.py on the machine of .env, and write its log and outputs/ into the run's folder.

    `reached` is called before anything is made there. Raises ReleaseError where it fails there, takes longer than the
    limit, or the connection is lost.
    """
    wanted = environments.read(root)
    sha256 = digest_file(job.data) if job.data else ""
    log = folder / "log.txt"
    with far_side(env, workspace) as remote, logged(log, tell) as told:
        reached()
        training = Training(remote, folder.name)
        training.send_model(root / "model")
        data = training.send_data(job.data, sha256, told) if job.data else None
        built = training.build(wanted, log, told)
        command = [built.interpreter, "model/train.py", *job.arguments(data)]
        check("train.py", training.execute(command, job.timeout_s, told), job.timeout_s, log)
        training.fetch_outputs(folder / "outputs")
    return Place(compute=job.compute, host=remote.host, python=built.python, environment=built.digest)


@contextlib.contextmanager
def logged(log: Path, tell: Tell) -> Iterator[Tell]:
    """Give what writes and tells each line."""
    with log.open("w") as file:

        def line(text: str) -> None:
            file.write(f"{text}\n")
            file.flush()
            tell(text)

        yield line


def look(wanted: Wanted, env: Env) -> str:
    """Look over the machine of .env, and describe it. Raises ReleaseError where it cannot train."""
    with far_side(env) as remote:
        said: list[str] = []
        check = ["", "-c", Path(building.__file__).read_text(), "--check", wanted.json]  # so that no file is written
        code = remote.ask("run", said.append, BUILD_TIMEOUT_S, command=check)
        if code:
            raise ReleaseError(f"{remote.host}: {' '.join(said[-1:])}")
        found = remote.ask("look")
    free_mb = found["free_bytes"] // MEGABYTE
    if free_mb < NEEDED_MB:
        raise ReleaseError(f"{remote.host}: {free_mb} MB are free in {found['folder']}, {NEEDED_MB} MB needed")
    return (
        f"VM {remote.host} as {remote.user}: {' '.join(said[-1:])}, {free_mb / 1024:.0f} GB free, "
        f"{found['environments']} environments in {found['folder']}"
    )


def attach(root: Path, env: Env, ask: Ask) -> str:
    """Look over the machine of .env; one that is not known yet becomes known if whoever is asked knows its host key."""
    wanted = environments.read(root)
    while True:  # each machine on the way to it may be one that is not known
        try:
            found = look(wanted, env)
        except ssh.UnknownHostError as unknown:
            if not ask(f"The host key of {unknown.name} is {unknown.fingerprint}. Is that right?"):
                raise
            ssh.remember(ssh.known_hosts(env), unknown.line)
        else:
            break
    return (
        f"{found}\nIts host key is the one in {ssh.known_hosts(env)}\n"
        "Train on it: invoke train --on vm, with --force where the model is fresh"
    )


def remove(env: Env, workspace: str) -> str:
    """Remove a workspace's folder on a machine; where there is no way to it any more, return what stays there, and why.

    Raises RefusedError while something trains there.
    """
    try:
        with far_side(env, workspace) as remote:
            free = remote.ask("remove")
    except ReleaseError as error:
        place = PurePosixPath(env.vm_folder, workspace)
        return f"{place} stays on {env.vm_host}: {str(error).splitlines()[0]}"
    if not free:
        raise RefusedError(f"something trains on {env.vm_host}\nWait for it, and try again")
    return ""
