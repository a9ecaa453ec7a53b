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
from lib.image.intact import MANIFEST, file_digests
from lib.platforms.local.containers import wheels
from lib.platforms.local.containers.engine import WORKSPACE, Engine, explained, failed


def environment_key(bundle: Path) -> str:
    """Return the digest of an environment: its base, its packages, and how they are installed."""
    return digest(b"".join((bundle / name).read_bytes() for name in (PACKAGES_DOCKERFILE, REQUIREMENTS)))[:16]


def build_environment(
    engine: Engine, bundle: Path, tag: str, wheels_folder: Path, base: Any, labels: dict[str, str], limit_s: float
) -> None:
    """Build the image with the packages of a bundle. Their wheels are kept in `wheels_folder`."""
    packages = wheels.download(bundle, wheels_folder, base.attrs.get("Architecture", "amd64"))
    files = {name: bundle / name for name in (PACKAGES_DOCKERFILE, REQUIREMENTS)}
    files |= {f"packages/{wheel.name}": wheel for wheel in packages.glob("*.whl")}
    arguments = {"WORKSPACE": engine.labels[WORKSPACE]}
    _build(engine, files, PACKAGES_DOCKERFILE, tag, labels, arguments, limit_s)


def build_image(
    engine: Engine, bundle: Path, tag: str, environment: str, labels: dict[str, str], limit_s: float
) -> None:
    """Build the image of a bundle on top of its environment."""
    files = {name: bundle / name for name in [MANIFEST, *file_digests(bundle)]}
    _build(engine, files, "Dockerfile", tag, labels, {"ENVIRONMENT": environment}, limit_s)


def _build(
    engine: Engine,
    files: dict[str, Path],
    dockerfile: str,
    tag: str,
    labels: dict[str, str],
    arguments: dict[str, str],
    limit_s: float,
) -> None:
    """Let the engine run a Dockerfile. Raises ReleaseError with the output of the failed step."""
    doing = f"building {tag}"
    with tempfile.TemporaryFile() as context, explained(doing):
        _pack(context, files)
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


def _pack(context: IO[bytes], files: dict[str, Path]) -> None:
    """Write the build context: a tar with the files in a fixed order, without owners or times.

    The engine reuses a layer only if the files behind it have the same bytes and attributes.
    """
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, path in sorted(files.items()):
            tar.add(path, name, recursive=False, filter=_anonymous)
    context.seek(0)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Remove times and owners from an entry."""
    return entry.replace(deep=False, mtime=0, uid=0, gid=0, uname="", gname="", mode=0o644)


def follow(lines: Iterable[dict[str, Any]], doing: str, limit_s: float) -> str:
    """Read an engine's progress to its end, and return it as text.

    Raises ReleaseError if the engine reports an error, or if it takes longer than `limit_s`.
    """
    end = time.monotonic() + limit_s
    output: list[str] = []
    for line in lines:
        if "error" in line:
            errors = [part for part in "".join(output).splitlines() if part.startswith("ERROR")]
            raise failed(doing, "\n".join([*errors[-1:], str(line["error"])]))
        output.append(str(line.get("stream") or f"{line.get('status', '')}\n"))
        if time.monotonic() > end:
            raise ReleaseError(f"{doing}: it took longer than {limit_s:g} s")
    return "".join(output)
