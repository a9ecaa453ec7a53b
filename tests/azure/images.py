"""Images and packages: contents that have been built, with a name in the workspace's registry."""

import threading
from typing import Any

from flask import Blueprint, request

from tests.azure import contents
from tests.azure.models import MANAGEMENT, find_model, has, patch
from tests.azure.operations import Operation, begin, problem, write_log
from tests.azure.state import Record, State, Workspace, now
from tests.azure.web import Problem, body, current, here, workspace

web = here(Blueprint("images", __name__, url_prefix=MANAGEMENT))
REGISTRY = "loopbackregistry.azurecr.io"
BROKEN = 'ERROR: failed to solve: process "/bin/sh -c ldconfig" did not complete successfully: exit code: 1'


@web.post("/images")
def create_image() -> Any:
    """Create an image, as ContainerImage asks for it."""
    given = body()
    name, version = given["name"], workspace.next_version("image", given["name"])
    made = describe(given, name, version)
    workspace.images[made["id"]] = made
    operation = begin(workspace, "Image", f"{workspace.scope}/images/{made['id']}")
    start(operation, f"image {name}", given, made["id"], made)
    return "", 202, operation.header(workspace)


def describe(given: Record, name: str, version: int) -> Record:
    """Return the record of an image that is being created."""
    kept, runtime = ("description", "imageFlavor", "imageType", "driverProgram"), given["targetRuntime"]
    return {
        "id": f"{name}:{version}",
        "name": name,
        "version": version,
        "createdTime": now(),
        "creationState": "Running",
        "imageLocation": f"{REGISTRY}/{name}:{version}",
        "imageBuildLogUri": None,
        "generatedDockerFileUri": None,
        "targetRuntime": runtime | {"targetArchitecture": runtime["targetArchitecture"].capitalize()},
        "assets": [{"unpack": False} | one for one in given["assets"]],
        "modelIds": given.get("modelIds") or [],
        "modelDetails": [find_model(workspace, one) for one in given.get("modelIds") or []],
        "kvTags": given.get("kvTags") or {},
        "properties": given.get("properties") or {},
    } | {key: given.get(key) for key in kept}


@web.post("/packages")
def create_package() -> Any:
    """Create a package of models, as Model.package asks for it."""
    given = body()
    if "environment" not in given["imageRequest"] or given["packageType"] != "DockerImage":
        raise Problem(400, "LoopbackUnknown", "the loopback Azure makes packages of an environment, as images, only")
    name, label = given.get("imageName") or "package", given.get("imageLabel") or now()[:19].translate({45: "", 58: ""})
    location = f"{REGISTRY}/{name}:{label}"
    operation = begin(workspace, f"Package{given['packageType']}")
    workspace.packages[location] = {"location": location, "createdTime": now(), "request": given["imageRequest"]}
    start(operation, f"image {name}", given["imageRequest"], location)
    return "", 202, operation.header(workspace)


def start(operation: Operation, subject: str, given: Record, key: str, image: Record | None = None) -> None:
    """Build an image in a thread of its own."""
    arguments = (*current(), operation, subject, given, key, image or {})
    threading.Thread(target=finish, args=arguments, daemon=True).start()


def finish(
    state: State, where: Workspace, operation: Operation, subject: str, given: Record, key: str, image: Record
) -> None:
    """Build an image and say how it went."""
    try:
        where.contents[key] = build(state, where, operation, subject, given)
    except contents.BuildError as error:
        where.packages.pop(key, None)
        image |= {"creationState": "Failed", "imageBuildLogUri": operation.log}
        operation.end("Failed", problem("ImageBuildFailed", f"The image could not be built:\n{error}"))
        return
    image |= {"imageBuildLogUri": operation.log}
    if not operation.hangs:
        image["creationState"] = "Succeeded"
        operation.location = operation.location or key
        operation.end()


def build(state: State, where: Workspace, operation: Operation, subject: str, given: Record) -> contents.Contents:
    """Build what an image consists of, and keep the log. Raises BuildError."""
    operation.stage = "BuildEnvironment"
    fault = state.faults.take(subject, "failed", "never-ending")
    operation.hangs = bool(fault and fault.kind == "never-ending")
    try:
        made, log = contents.build(state, where, given)
        if fault and fault.kind == "failed":
            raise contents.BuildError("\n".join([*log[:-1], fault.message or BROKEN]))
    except Problem as error:
        write_log(state, where, operation, [error.message])
        raise contents.BuildError(error.message) from None
    except contents.BuildError as error:
        write_log(state, where, operation, str(error).splitlines())
        raise
    write_log(state, where, operation, log)
    return made


@web.get("/images")
def list_images() -> Any:
    """List images that meet the query, the latest first."""
    wanted, found = request.args, list(reversed(workspace.images.values()))
    if "name" in wanted:
        found = [one for one in found if one["name"] == wanted["name"]]
    if "version" in wanted:
        found = [one for one in found if str(one["version"]) == wanted["version"]]
    if "modelId" in wanted:
        found = [one for one in found if wanted["modelId"] in one["modelIds"]]
    if "modelName" in wanted:
        found = [one for one in found if wanted["modelName"] in [model["name"] for model in one["modelDetails"]]]
    for name, field in (("tags", "kvTags"), ("properties", "properties")):
        if name in wanted:
            found = [one for one in found if has(one[field], wanted[name])]
    return {"value": found[: int(wanted.get("count") or 255)]}


@web.get("/images/<image>")
def get_image(image: str) -> Any:
    """Return an image."""
    return find_image(image)


def find_image(image: str) -> Record:
    """Return an image. Raises Problem where there is none."""
    if image not in workspace.images:
        raise Problem(404, "ImageNotFound", f"Image with id {image} not found")
    return workspace.images[image]


@web.patch("/images/<image>")
def patch_image(image: str) -> Any:
    """Change an image's tags and properties."""
    return patch(find_image(image), request.get_json(force=True))


@web.delete("/images/<image>")
def delete_image(image: str) -> Any:
    """Delete an image that no service uses."""
    found = find_image(image)
    users = [one["name"] for one in workspace.services.values() if one["imageId"] == found["id"]]
    if users:
        raise Problem(412, "DeletionRequired", f"Image {image} is used by the services {users}")
    del workspace.images[found["id"]]
    return "", 200
