"""Snapshots of a project's folder: a tree of hashes, and a blob for each file."""

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from flask import Blueprint

from tests.azure.state import Record, State, Workspace, new_id, now
from tests.azure.web import SCOPE, Problem, body, here, state, workspace

web = here(Blueprint("snapshots", __name__, url_prefix=f"/content/<version>{SCOPE}/snapshots"))
NOBODY = "00000000-0000-0000-0000-000000000000"


@web.get("/<snapshot>/metadata")
def metadata(version: str, snapshot: str) -> Any:
    """Return a snapshot's tree; the latest one of a new workspace is empty."""
    if snapshot == "latest":
        found = list(workspace.snapshots.values())[-1:]
        if not found:
            root: Record = {"name": "", "type": "Directory", "hash": None, "timestamp": now(), "children": {}}
            return {"id": NOBODY, "root": {}, "directory": root}
        return show(found[0])
    return show(find(workspace, snapshot))


def show(found: Record) -> Record:
    """Return a snapshot as Azure shows it."""
    return {"id": found["id"], "root": found["root"], "createdOn": found["created"], "properties": found["properties"]}


def find(where: Workspace, snapshot: str) -> Record:
    """Return a snapshot. Raises Problem where there is none."""
    if snapshot not in where.snapshots:
        raise Problem(404, "UserError", f"Snapshot {snapshot} was not found")
    return where.snapshots[snapshot]


@web.post("/getblob")
def get_blobs(version: str) -> Any:
    """Say where the files of a snapshot to come are to be put."""
    folder = f"snapshots/{new_id()}"
    nodes = [
        {
            "fullName": name,
            "fileName": name.rsplit("/", 1)[-1],
            "blobUri": state.storage.address(workspace.container, f"{folder}/{name}"),
        }
        for name in body()["FileNames"]
    ]
    return {"fileNodes": nodes}


@web.post("/<snapshot>")
def create(version: str, snapshot: str) -> Any:
    """Create a snapshot: what is not uploaded comes from its parent."""
    given = body()
    parent = workspace.snapshots.get(given.get("ParentSnapshotId") or "")
    files: dict[str, str] = {}
    uploaded = {one["FullName"]: blob_of(one["BlobUri"]) for one in given["FileRevisionList"]["FileNodes"]}
    for name in names(given["DirTreeNode"]):
        source = uploaded.get(name) or (parent["files"].get(name) if parent else None)
        if source is None or state.storage.read(workspace.container, source) is None:
            raise Problem(400, "UserError", f"The file {name} of snapshot {snapshot} was not uploaded")
        files[name] = source
    workspace.snapshots[snapshot] = {
        "id": snapshot,
        "root": given["DirTreeNode"],
        "files": files,
        "created": now(),
        "properties": given.get("Properties") or {},
    }
    return show(workspace.snapshots[snapshot])


def blob_of(address: str) -> str:
    """Return the blob that an address is of."""
    return unquote(urlsplit(address).path).split("/", 2)[2]


def names(node: Record, prefix: str = "") -> list[str]:
    """Return the files of a tree."""
    found: list[str] = []
    for child in node["children"].values():
        path = f"{prefix}{child['name']}"
        found += [path] if child["type"] == "File" else names(child, f"{path}/")
    return found


@web.post("/<snapshot>/zip")
def as_zip(version: str, snapshot: str) -> Any:
    """Pack a snapshot, and say where it is."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, blob in find(workspace, snapshot)["files"].items():
            archive.writestr(name, state.storage.read(workspace.container, blob) or b"")
    place = f"snapshots/{snapshot}-{hashlib.sha256(packed.getvalue()).hexdigest()[:8]}.zip"
    state.storage.write(workspace.container, place, packed.getvalue())
    return {"zipSasUri": state.storage.address(workspace.container, place, "r")}


def unpack(state: State, where: Workspace, snapshot: str, folder: Path) -> None:
    """Write a snapshot's files below a folder."""
    for name, blob in find(where, snapshot)["files"].items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(state.storage.read(where.container, blob) or b"")
