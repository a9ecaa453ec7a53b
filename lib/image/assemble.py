"""Assemble a scoring image: service/, the model, the pinned packages, a server, Dockerfiles and a manifest.

The image's digest is that of manifest.json, which has the digest of every file. So the same content gives the same
digest on every machine.
"""

import json
from pathlib import Path

from lib.errors import ReleaseError
from lib.files import digest, source_files
from lib.image.intact import MANIFEST, MODEL_PATH, faults
from lib.settings import conda

HERE = Path(__file__).parent
REQUIREMENTS = "packages/requirements.txt"
PACKAGES_DOCKERFILE = "environment.Dockerfile"
SERVER = ("drain.py", "entry.py", "intact.py", "scoring_keys.py", "serve.py")
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


def assemble(root: Path, model: Path, requirements: str, base: str) -> Image:
    """Assemble the image of a model on a base; `requirements` are its locked packages, for pip.

    Raises ReleaseError if service/score.py is missing.
    """
    service = root / "service"
    if not (service / "score.py").is_file():
        raise ReleaseError("service/score.py is missing: it must define init() and run()")
    contents = {path.relative_to(root).as_posix(): path.read_bytes() for path in source_files(service)}
    contents |= {name: (HERE / name).read_bytes() for name in ("Dockerfile", *SERVER)}
    contents[PACKAGES_DOCKERFILE] = f"ARG BASE={base}\n".encode() + (HERE / PACKAGES_DOCKERFILE).read_bytes()
    contents[MODEL_PATH] = model.read_bytes()
    contents[conda.NAME] = (root / conda.PATH).read_bytes()
    contents[REQUIREMENTS] = requirements.encode()
    return Image(contents)


def base_of(folder: Path) -> str:
    """Return the base that an image was assembled on."""
    return (folder / PACKAGES_DOCKERFILE).read_text().partition("\n")[0].removeprefix("ARG BASE=")


def require_intact(folder: Path, image: str) -> None:
    """Raise ReleaseError if a file of an image (its digest) was changed. See lib.image.intact.faults."""
    for fault in faults(folder, image):
        raise ReleaseError(f"image {image[:12]} is damaged: {fault}\nDelete {folder}")
