"""Which versions this machine keeps: [local] keep limits how many there are besides those that may still serve."""

from typing import Any

from lib.errors import ReleaseError
from lib.image.intact import MODEL_PATH, file_digests
from lib.platforms.blobs import Blobs
from lib.platforms.local.images import Images
from lib.platforms.local.store import Store
from lib.platforms.outputs import model_files

PRUNED = "Pruned"  # the status of a run whose files were removed: it is never used again
ROLLBACKS = 2  # production, and the version before it


class Retention:
    """Removes the files of versions that are not kept: those of their runs, and their images. History stays."""

    def __init__(self, name: str, keep: int | None, store: Store, blobs: Blobs, images: Images) -> None:
        self._name = name
        self._keep = keep
        self._store = store
        self._blobs = blobs
        self._images = images

    def apply(self) -> None:
        """Keep the newest run, all versions that may serve, and `keep` more runs, the newest; remove the others.

        A run whose model the gate held counts like a version.
        """
        if self._keep is None:
            return
        runs = self._store.all("SELECT * FROM runs WHERE status = 'Completed' ORDER BY rowid DESC")
        needed = self._needed() | {run["run_id"] for run in runs[:1]}
        others = [run for run in runs if run["run_id"] not in needed]
        if removed := others[self._keep :]:
            names = {run["run_id"] for run in removed}
            kept = [run for run in runs if run["run_id"] not in names]
            self._remove_images(removed, kept)
            for run in removed:
                self._store.do("UPDATE runs SET status = ? WHERE run_id = ?", PRUNED, run["run_id"])
                self._store.do(
                    "UPDATE models SET deleted_at = datetime() WHERE run_id = ? AND deleted_at IS NULL", run["run_id"]
                )
            self._blobs.keep_only({sha256 for run in kept for sha256 in run["outputs"].values()})

    def _needed(self) -> set[str]:
        """Return the runs of versions that serve, or that production could go back to."""
        versions = {(row["model_name"], row["model_version"]) for row in self._store.all("SELECT * FROM services")}
        rows = self._store.all("SELECT * FROM production WHERE name = ? ORDER BY id DESC", self._name)
        versions |= {(self._name, version) for version in [*dict.fromkeys(row["version"] for row in rows)][:ROLLBACKS]}
        models = self._store.all("SELECT * FROM models WHERE deleted_at IS NULL")
        newest = max((model["version"] for model in models if model["name"] == self._name), default=0)
        versions.add((self._name, newest))
        of_production = {row["evidence"].get("run", "") for row in rows if (self._name, row["version"]) in versions}
        return of_production | {run["run_id"] for run in models if (run["name"], run["version"]) in versions}

    def _remove_images(self, removed: list[dict[str, Any]], kept: list[dict[str, Any]]) -> None:
        """Remove the images of removed runs' models."""
        models = _model_contents(removed) - _model_contents(kept)
        for digest in self._images.digests():
            files = file_digests(self._images.folder / digest)
            if models & {sha256 for name, sha256 in files.items() if name.startswith(MODEL_PATH)}:
                self._images.remove(digest)


def _model_contents(runs: list[dict[str, Any]]) -> set[str]:
    contents = set()
    for run in runs:
        try:
            contents |= {run["outputs"][name] for name in model_files(run["outputs"])}
        except ReleaseError:
            continue  # a run of an earlier version without a model
    return contents
