"""Assemble a scoring image: service/, the model, the pinned environment, a server, a Dockerfile and a manifest.

Its digest is that of the manifest, which names every file by its content: the same content gives the same digest on any
machine.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from lib.errors import ReleaseError
from lib.files import digest, digest_file, source_files
from lib.settings import conda

HERE = Path(__file__).parent
MODEL_PATH = "model/1/model.joblib"
REQUIREMENTS = "packages/requirements.txt"
PACKAGES_DOCKERFILE = "environment.Dockerfile"
BASE = "docker.io/library/python:3.11-slim"


class Image:
    """An image that is not written yet: the content of each of its files."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        manifest = {name: digest(content) for name, content in sorted(contents.items())}
        written = json.dumps({"files": manifest}, indent=2).encode() + b"\n"
        self.contents = contents | {"manifest.json": written}
        self.digest = digest(written)

    def write(self, folder: Path) -> None:
        """Write the files below a folder."""
        for name, content in self.contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def assemble(root: Path, model: Path, base: str = BASE) -> Image:
    """Assemble the image of a model upon a base. Raises ReleaseError where a part is missing or not pinned."""
    service = root / "service"
    if not (service / "score.py").is_file():
        raise ReleaseError("service/score.py is missing: it must define init() and run()")
    contents = {path.relative_to(root).as_posix(): path.read_bytes() for path in source_files(service)}
    contents |= {name: (HERE / name).read_bytes() for name in ("Dockerfile", "drain.py", "serve.py")}
    contents[PACKAGES_DOCKERFILE] = f"ARG BASE={base}\n".encode() + (HERE / PACKAGES_DOCKERFILE).read_bytes()
    contents[MODEL_PATH] = model.read_bytes()
    contents[conda.NAME] = (root / conda.PATH).read_bytes()
    contents[REQUIREMENTS] = conda.with_dependencies(
        conda.pins(root / conda.PATH), (root / "requirements.txt").read_text()
    ).encode()
    return Image(contents)


def verify(folder: Path, expected: str) -> None:
    """Check an image's files against its manifest and digest; the model may be elsewhere. Raises ReleaseError."""
    for fault in faults(folder, expected):
        raise ReleaseError(f"image {expected[:12]} is damaged: {fault}\nDelete {folder}")


def faults(folder: Path, expected: str) -> Iterator[str]:
    """Yield what is wrong with an image's files. An image whose model is elsewhere has no folder for it."""
    path = folder / "manifest.json"
    if not path.is_file() or digest_file(path) != expected:
        yield f"{path} is not its manifest"
        return
    for name, sha256 in manifest(folder).items():
        path = folder / name
        elsewhere = name == MODEL_PATH and not path.parent.is_dir()
        if not elsewhere and not (path.is_file() and digest_file(path) == sha256):
            yield f"{path} is not what was built"


def manifest(folder: Path) -> dict[str, str]:
    """Return the digest of each file of an image, as it says itself; none where that is damaged, as `faults` tells."""
    try:
        return dict(json.loads((folder / "manifest.json").read_bytes())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
