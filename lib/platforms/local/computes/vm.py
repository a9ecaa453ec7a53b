"""Train on another machine: send what the training needs, and bring its outputs back into the run here."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from lib.environment import building
from lib.environment.leased import logged
from lib.errors import RefusedError, ReleaseError
from lib.files import digest_file, source_files
from lib.platforms import logged_metrics
from lib.platforms.base import Ask, Job, Place, Tell
from lib.platforms.local.computes import environments, ssh
from lib.platforms.local.computes.environments import BUILD_TIMEOUT_S, Requirements
from lib.platforms.local.computes.remote import Remote, far_side
from lib.platforms.local.computes.training import check
from lib.settings import Env

MEGABYTE = 1 << 20
NEEDED_MB = 500
Reached = Callable[[], None]


def train(root: Path, env: Env, workspace: str, job: Job, folder: Path, tell: Tell, reached: Reached) -> Place:
    """Run model/train.py on the machine of .env, and write its log and outputs/ into the run's folder.

    Calls `reached` before anything is created there. Raises ReleaseError if the training fails or takes longer than the
    limit, or the connection is lost.
    """
    requirements = environments.read(root)
    sha256 = digest_file(job.data) if job.data else ""
    data = f"data/{sha256}/{job.data.name}" if job.data else ""
    request: dict[str, Any] = {
        "run": folder.name,
        "data": data,
        "train": job.arguments(data or None),
        "limit_s": job.timeout_s,
        "variables": logged_metrics.VARIABLES | {name: secret.reveal() for name, secret in job.secrets.items()},
    }
    request |= {"environment": requirements.digest, "requirements": requirements.json, "build_limit_s": BUILD_TIMEOUT_S}
    log = folder / "log.txt"
    with far_side(env, "train", workspace, **request) as remote, logged(log, tell, job.redact) as report:
        reached()
        has_data = remote.until("has_data")
        remote.upload(_files(root / "model"))
        if job.data and not has_data:
            _send_data(remote, job.data, sha256, report)
        remote.send(sent=True)
        environments.check(requirements, remote.ended("built", report), log, f" on {remote.host}")
        python = remote.until("python")
        check("train.py", remote.ended("trained", report), job.timeout_s, log)
        (folder / "outputs").mkdir()
        remote.until("answer", files=folder / "outputs")
    return Place(compute=job.compute, host=remote.host, python=python, environment=requirements.digest)


def _files(model: Path) -> dict[str, Path]:
    """Return the files of model/ that a user wrote, and the script that builds an environment, by their names there."""
    files = {f"model/{path.relative_to(model).as_posix()}": path for path in source_files(model)}
    return files | {"building.py": Path(building.__file__)}


def _send_data(remote: Remote, data: Path, sha256: str, tell: Tell) -> None:
    tell(f"sends {data.name}, {data.stat().st_size / MEGABYTE:.1f} MB")
    remote.upload({"data": data})
    if digest_file(data) != sha256:  # it is kept there under this name
        raise ReleaseError(f"{data} changed while it was sent to {remote.host}\nTry again")


def look(requirements: Requirements, env: Env, confirmed: str = "") -> str:
    """Check the machine of .env, and describe it; write nothing there. Raises ReleaseError if it cannot train."""
    request: dict[str, Any] = {
        "source": Path(building.__file__).read_text(),
        "requirements": requirements.json,
        "limit_s": BUILD_TIMEOUT_S,
    }
    with far_side(env, "look", confirmed=confirmed, **request) as remote:
        ended = remote.ended("checked")
        if ended.code:
            raise ReleaseError(f"{remote.host}: {ended.last}")
        place = remote.until("answer")
    free_mb = place["free_bytes"] // MEGABYTE
    if free_mb < NEEDED_MB:
        raise ReleaseError(f"{remote.host}: {free_mb} MB are free in {place['folder']}, {NEEDED_MB} MB needed")
    return (
        f"VM {remote.host} as {remote.user}: {ended.last}, {free_mb / 1024:.0f} GB free, "
        f"{place['environments']} environments in {place['folder']}"
    )


def attach(root: Path, env: Env, ask: Ask) -> str:
    """Check and describe the machine of .env; ask about each host key on the way to it that is not known yet."""
    requirements = environments.read(root)
    known_hosts = ssh.known_hosts(env)
    confirmed = ""
    while True:
        try:
            description = look(requirements, env, confirmed)
        except ssh.UnknownHostError as unknown:
            if not ask(f"The host key of {unknown.name} is {unknown.key}. Is that right?"):
                raise
            known_hosts.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # ssh creates only ~/.ssh
            confirmed = unknown.fingerprint
        else:
            break
    return (
        f"{description}\nIts host key is in {known_hosts}\n"
        "Train on it: invoke train --on vm; add --force if the model is fresh"
    )


def remove(env: Env, workspace: str) -> str:
    """Remove a workspace's folder on a machine; if the machine cannot be reached, return what stays there, and why.

    Raises RefusedError while a training runs there.
    """
    try:
        with far_side(env, "remove", workspace) as remote:
            is_free = remote.until("answer")
    except ReleaseError as error:
        return f"{PurePosixPath(env.vm_folder, workspace)} stays on {env.vm_host}: {str(error).splitlines()[0]}"
    if not is_free:
        raise RefusedError(f"a training runs on {env.vm_host}\nWait until it ends, and try again")
    return ""
