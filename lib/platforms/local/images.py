"""Scoring images on this machine: bundles, which are folders; with a container engine, also images made from them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.errors import ReleaseError
from lib.image.intact import MANIFEST, file_digests
from lib.platforms.base import Build, Tell
from lib.platforms.blobs import Blobs, share
from lib.settings import Settings

if TYPE_CHECKING:
    from lib.platforms.local.containers import ContainerEngine


class Images:
    """The images of one workspace. `containers` returns the engine, which is started only if it is used."""

    def __init__(self, settings: Settings, blobs: Blobs, containers: Callable[[], "ContainerEngine"]) -> None:
        self._blobs = blobs
        self.folder = settings.folder / "images"
        self._workspace = settings.folder
        self._settings = settings
        self._containers = containers

    def find(self, digest: str) -> str | None:
        bundle = self.folder / digest
        if not bundle.is_dir():
            return None
        return self._containers().images.find(digest) if self._settings.containers else str(bundle)

    def content(self, digest: str) -> Path:
        if not (self.folder / digest).is_dir():
            raise ReleaseError(f"image {digest[:12]} is not there any more\n`invoke image --force` builds it again")
        return self.folder / digest

    def build(self, build: Build, tell: Tell) -> str:
        bundle = self.folder / build.digest
        if not bundle.is_dir():
            # Renamed when complete, so an interrupted build leaves no bundle; the next build removes what it left.
            aside = self.folder / ".aside"
            shutil.rmtree(aside, ignore_errors=True)
            for name, sha256 in file_digests(build.folder).items():
                self._copy(build.folder / name, aside / name, sha256)
            shutil.copy(build.folder / MANIFEST, aside / MANIFEST)
            aside.rename(bundle)
        return self._containers().images.build(build, tell) if self._settings.containers else str(bundle)

    def _copy(self, path: Path, copy: Path, sha256: str) -> None:
        """Copy a file of an image. A model is stored already, and takes no more space."""
        stored = self._blobs.place(sha256)
        if stored.exists():
            share(stored, copy)
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)

    def require_builder(self) -> None:
        if self._settings.containers:
            self._containers().engine.describe()

    def settings(self) -> dict[str, dict[str, Any]]:
        if not self._settings.containers:
            return {}
        return {"image": {"registry": self._settings.release.image.registry}, "local": {"engine": "container"}}

    def digests(self) -> list[str]:
        """Return the digests of all bundles."""
        return sorted(path.name for path in self.folder.glob("[!.]*"))

    def remove(self, digest: str) -> None:
        """Remove an image. The engine is asked as well if it is, or once was, in use."""
        if self._settings.containers or (self._workspace / "wheels").is_dir():
            self._containers().images.remove(digest)
        shutil.rmtree(self.folder / digest, ignore_errors=True)
