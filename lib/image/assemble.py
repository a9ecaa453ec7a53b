"""Assemble a scoring image: service/, the model, its modules, the packages, a server, Dockerfiles and a manifest.

Without a service/score.py the image has the default scorer in its place, with all that it needs.

The image's digest is that of manifest.json, which has the digest of every file. So the same content gives the same
digest on every machine.
"""

import json
from pathlib import Path

from lib import redaction
from lib.errors import ReleaseError
from lib.files import digest, source_files
from lib.image.intact import MANIFEST, MODEL_PATH, faults
from lib.settings import conda

HERE = Path(__file__).parent
SCORE = "service/score.py"
REQUIREMENTS = "packages/requirements.txt"
PACKAGES_DOCKERFILE = "environment.Dockerfile"
CODE = "service/_model"  # the modules beside model/train.py: the model's pickles import them
LARGEST_BYTES = 1 << 20  # a larger file in model/ is data
SCRIPTS = ("train.py", "evaluation.py")
PACKAGE = "service/release_scoring"
DEFAULTS = ("owner.py", "metrics.py", "table.py", "holdout.py")  # of lib/forks: they run the owner's functions
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


def has_score(root: Path) -> bool:
    """Return whether the owner has written a scorer; otherwise an image has the default scorer."""
    return (root / SCORE).is_file()


def assemble(
    root: Path, model: Path, requirements: str, base: str, signature: Path | None = None, code: Path | None = None
) -> Image:
    """Assemble the image of a model on a base; `requirements` are its locked packages, for pip.

    `code` is the folder with the model's scripts, model/ by default. Raises ReleaseError if there is neither a
    service/score.py nor a signature, which the default scorer needs.
    """
    contents = {path.relative_to(root).as_posix(): path.read_bytes() for path in source_files(root / "service")}
    contents |= _code(code or root / "model", scripts=not has_score(root))
    if not has_score(root):
        contents |= _default_scorer(signature)
    contents |= {name: (HERE / name).read_bytes() for name in ("Dockerfile", *SERVER)}
    contents["redaction.py"] = Path(redaction.__file__).read_bytes()
    contents[PACKAGES_DOCKERFILE] = f"ARG BASE={base}\n".encode() + (HERE / PACKAGES_DOCKERFILE).read_bytes()
    for path in [model] if model.is_file() else source_files(model):
        contents[MODEL_PATH + path.relative_to(model.parent).as_posix()] = path.read_bytes()
    contents[conda.NAME] = (root / conda.PATH).read_bytes()
    contents[REQUIREMENTS] = requirements.encode()
    return Image(contents)


def _code(folder: Path, scripts: bool) -> dict[str, bytes]:
    """Return the files beside the training script; with `scripts`, also those that may define predict() and load()."""
    paths = {path.relative_to(folder).as_posix(): path for path in source_files(folder)}
    return {
        f"{CODE}/{name}": path.read_bytes()
        for name, path in paths.items()
        if path.stat().st_size <= LARGEST_BYTES and (scripts or name not in SCRIPTS)
    }


def _default_scorer(signature: Path | None) -> dict[str, bytes]:
    if signature is None:
        raise ReleaseError(
            f"there is no {SCORE}, and the run has no signature, from which a release builds a scorer\n"
            "`invoke train --force` derives one from the hold-out"
        )
    contents = {SCORE: HERE / "scorer.py", f"{PACKAGE}/body.py": HERE / "body.py", "service/signature.json": signature}
    contents |= {f"{PACKAGE}/{name}": HERE.parent / "forks" / name for name in DEFAULTS}
    return {name: path.read_bytes() for name, path in contents.items()} | {f"{PACKAGE}/__init__.py": b""}


def base_of(folder: Path) -> str:
    """Return the base that an image was assembled on."""
    return (folder / PACKAGES_DOCKERFILE).read_text().partition("\n")[0].removeprefix("ARG BASE=")


def require_intact(folder: Path, image: str) -> None:
    """Raise ReleaseError if a file of an image (its digest) was changed. See lib.image.intact.faults."""
    for fault in faults(folder, image):
        raise ReleaseError(f"image {image[:12]} is damaged: {fault}\nDelete {folder}")
