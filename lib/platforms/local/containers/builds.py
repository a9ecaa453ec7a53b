"""Run a bundle's two Dockerfiles: first that of the environment, which many images share, then that of the image."""

import tarfile
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from lib.errors import ReleaseError
from lib.files import digest
from lib.image.assemble import PACKAGES_DOCKERFILE, REQUIREMENTS
from lib.platforms.local.containers import wheels
from lib.platforms.local.containers.engine import WORKSPACE, Engine, explained, failed
from lib.settings import conda


def environment_key(bundle: Path) -> str:
    """Return what tells one environment from another: its base, its packages, and how they are installed."""
    return digest(b"".join((bundle / name).read_bytes() for name in (PACKAGES_DOCKERFILE, REQUIREMENTS, conda.NAME)))[
        :16
    ]


def build_environment(
    engine: Engine, bundle: Path, tag: str, kept: Path, base: Any, labels: dict[str, str], limit_s: float
) -> None:
    """Build the image with the packages of a bundle upon its base; `kept` is where their wheels are."""
    packages = wheels.download(bundle, kept, base.attrs.get("Architecture", "amd64"))
    files = {name: bundle / name for name in (PACKAGES_DOCKERFILE, REQUIREMENTS)}
    files |= {f"packages/{wheel.name}": wheel for wheel in packages.glob("*.whl")}
    arguments = {"WORKSPACE": engine.labels[WORKSPACE]}
    build(engine, files, PACKAGES_DOCKERFILE, tag, labels, arguments, limit_s)


def build_image(
    engine: Engine, bundle: Path, tag: str, environment: str, labels: dict[str, str], limit_s: float
) -> None:
    """Build the image of a bundle upon its environment."""
    files = {path.relative_to(bundle).as_posix(): path for path in bundle.rglob("*") if path.is_file()}
    build(engine, files, "Dockerfile", tag, labels, {"ENVIRONMENT": environment}, limit_s)


def build(
    engine: Engine,
    files: dict[str, Path],
    dockerfile: str,
    tag: str,
    labels: dict[str, str],
    arguments: dict[str, str],
    limit_s: float,
) -> None:
    """Let the engine run a Dockerfile. Raises ReleaseError with what the failed step said."""
    doing = f"building {tag}"
    with tempfile.TemporaryFile() as context, explained(doing):
        pack(context, files)
        lines = engine.client.api.build(
            fileobj=context,
            custom_context=True,
            dockerfile=dockerfile,
            tag=tag,
            labels=labels,
            buildargs=arguments,
            rm=True,
            forcerm=True,
            decode=True,
            timeout=int(limit_s),
        )
        follow(lines, doing, limit_s)


def pack(context: IO[bytes], files: dict[str, Path]) -> None:
    """Write what the engine builds from: files by their names, in a fixed order, without owners or times."""
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, path in sorted(files.items()):
            tar.add(path, name, recursive=False, filter=plain)
    context.seek(0)


def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Take from a file what is not content."""
    return entry.replace(deep=False, mtime=0, uid=0, gid=0, uname="", gname="", mode=0o644)


def follow(lines: Iterable[dict[str, Any]], doing: str, limit_s: float) -> str:
    """Read what an engine says to its end, and return it.

    Raises ReleaseError with what went wrong, or where it takes too long.
    """
    end = time.monotonic() + limit_s
    said: list[str] = []
    for line in lines:
        if "error" in line:
            errors = [part for part in "".join(said).splitlines() if part.startswith("ERROR")]
            raise failed(doing, "\n".join([*errors[-1:], str(line["error"])]))
        said.append(str(line.get("stream") or f"{line.get('status', '')}\n"))
        if time.monotonic() > end:
            raise ReleaseError(f"{doing}: it took longer than {limit_s:g} s")
    return "".join(said)
