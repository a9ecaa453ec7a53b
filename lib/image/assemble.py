"""Assemble a scoring image: service/, the model, the pinned packages, a server, Dockerfiles and a manifest.

The image's digest is that of manifest.json, which has the digest of every file. So the same content gives the same
digest on every machine.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from lib.errors import ReleaseError
from lib.files import digest, digest_file, source_files
from lib.settings import conda

HERE = Path(__file__).parent
MODEL_PATH = "model/1/model.joblib"
MANIFEST = "manifest.json"
REQUIREMENTS = "packages/requirements.txt"
PACKAGES_DOCKERFILE = "environment.Dockerfile"
BASE = "docker.io/library/python:3.11-slim"


class Image:
    """An image in memory: the content of each of its files."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        digests = {name: digest(content) for name, content in sorted(contents.items())}
        manifest = json.dumps({"files": digests}, indent=2).encode() + b"\n"
        self.contents = contents | {MANIFEST: manifest}
        self.digest = digest(manifest)

    def write(self, folder: Path) -> None:
        """Write the files into a folder."""
        for name, content in self.contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def assemble(root: Path, model: Path, base: str = BASE) -> Image:
    """Assemble the image of a model. Raises ReleaseError if a part is missing, or a package is not pinned."""
    service = root / "service"
    if not (service / "score.py").is_file():
        raise ReleaseError("service/score.py is missing: it must define init() and run()")
    contents = {path.relative_to(root).as_posix(): path.read_bytes() for path in source_files(service)}
    contents |= {name: (HERE / name).read_bytes() for name in ("Dockerfile", "drain.py", "scoring_keys.py", "serve.py")}
    contents[PACKAGES_DOCKERFILE] = f"ARG BASE={base}\n".encode() + (HERE / PACKAGES_DOCKERFILE).read_bytes()
    contents[MODEL_PATH] = model.read_bytes()
    contents[conda.NAME] = (root / conda.PATH).read_bytes()
    contents[REQUIREMENTS] = conda.with_dependencies(
        conda.pins(root / conda.PATH), (root / "requirements.txt").read_text()
    ).encode()
    return Image(contents)


def require_intact(folder: Path, image: str) -> None:
    """Raise ReleaseError if a file of an image (its digest) was changed. See `faults`."""
    for fault in faults(folder, image):
        raise ReleaseError(f"image {image[:12]} is damaged: {fault}\nDelete {folder}")


def faults(folder: Path, image: str) -> Iterator[str]:
    """Yield what is wrong with the files of an image (its digest).

    A folder without model/ is no fault: some platforms keep the model in their registry only.
    """
    path = folder / MANIFEST
    if not path.is_file() or digest_file(path) != image:
        yield f"{path} is not the manifest of this image"
        return
    for name, sha256 in file_digests(folder).items():
        path = folder / name
        elsewhere = name == MODEL_PATH and not path.parent.is_dir()
        if not elsewhere and not (path.is_file() and digest_file(path) == sha256):
            yield f"{path} was changed after the image was built"


def file_digests(folder: Path) -> dict[str, str]:
    """Return the digest of each file from an image's manifest; empty if that cannot be read, which is a fault."""
    try:
        return dict(json.loads((folder / MANIFEST).read_bytes())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
