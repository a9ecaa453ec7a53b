"""Check an image's files against its digest, so that a server never loads a file that was changed after the build.

This file goes into every image. It imports the standard library only, so that any server can use it.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

MODEL_PATH = "model/1/"  # the model: one file of any name, or the folder model/
ENTRY = "entry.py"
MANIFEST = "manifest.json"
# In a container the manifest is in the layer of the model, so that a new model changes only one layer.
MANIFESTS = (MANIFEST, f"model/{MANIFEST}")
# A container has its packages here. They are not listed; the engine verifies their layer.
PACKAGES = "packages"
CACHE = "__pycache__"


class DamagedImageError(Exception):
    """A file was changed, removed or added after the image was built."""


def require_intact(folder: Path, image: str) -> None:
    """Raise DamagedImageError if the files in a folder are not those of an image (its digest).

    Removes byte-code caches first: Python would run them instead of the files that were checked.
    """
    for cache in [*folder.glob(f"service/**/{CACHE}"), *folder.glob(CACHE)]:
        shutil.rmtree(cache, ignore_errors=True)
    for fault in faults(folder, image):
        raise DamagedImageError(f"{fault}\nDelete {folder}: the next `invoke release` builds the image again")


def faults(folder: Path, image: str) -> Iterator[str]:
    """Yield what is wrong with the files of an image (its digest).

    A folder without model/ is no fault: some platforms keep the model in their registry only.
    """
    manifest = _manifest(folder)
    if not manifest.is_file() or _digest(manifest) != image:
        yield f"{manifest} is not the manifest of this image"
        return
    digests = file_digests(folder)
    for name, sha256 in digests.items():
        path = folder / name
        elsewhere = name.startswith(MODEL_PATH) and not (folder / MODEL_PATH).is_dir()
        if not elsewhere and not (path.is_file() and _digest(path) == sha256):
            yield f"{path} was {'changed' if path.exists() else 'removed'} after the image was built"
    for name in sorted(_names(folder) - digests.keys() - {*MANIFESTS}):
        yield f"{folder / name} was added after the image was built"


def file_digests(folder: Path) -> dict[str, str]:
    """Return the digest of each file from an image's manifest; empty if that cannot be read, which is a fault."""
    try:
        return dict(json.loads(_manifest(folder).read_bytes())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _manifest(folder: Path) -> Path:
    return next((folder / name for name in MANIFESTS if (folder / name).is_file()), folder / MANIFEST)


def _names(folder: Path) -> set[str]:
    """Return the names of all files that Python could import, or that score.py could read."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return {path.as_posix() for path in paths if path.parts[0] != PACKAGES and CACHE not in path.parts}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
