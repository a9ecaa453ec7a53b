"""Container images: built by the engine from the bundles that run as processes, and pushed where a registry is set."""

import re
from pathlib import Path
from typing import Any

import docker.errors
import docker.utils
import msgspec

from lib import files
from lib.errors import ReleaseError
from lib.platforms.base import Build, Tell
from lib.platforms.local.containers import builds
from lib.platforms.local.containers.engine import Engine, explained
from lib.settings import Env, ImageSettings

FINGERPRINT = "invoke-release.fingerprint"
ENVIRONMENT = "invoke-release.environment"
IN_USE = 409
PULL_LIMIT_S = 1800.0
OCI = "org.opencontainers.image"


class Images:
    """The engine's images of one workspace. An image's tag is the digest of the bundle that it was built from."""

    def __init__(self, engine: Engine, model: str, settings: ImageSettings, env: Env, folder: Path) -> None:
        self.engine = engine
        self.settings = settings
        self.repository = settings.registry or f"localhost/{model}-{engine.name}"
        self.credentials = credentials(env)
        self.wheels = folder / "wheels"
        self.pushed = Pushed(folder / "pushed.json")

    def reference(self, digest: str) -> str:
        """Return the name of an image in the engine and in the registry."""
        return f"{self.repository}:{digest}"

    def get(self, reference: str) -> Any:
        """Return an image of the engine, or None where it has none of this name."""
        with explained(f"looking for image {reference}"):
            try:
                return self.engine.client.images.get(reference)
            except docker.errors.NotFound:
                return None

    def find(self, digest: str) -> str | None:
        """Return where an image is: in the registry by its digest, or without one in the engine by its id."""
        image = self.get(self.reference(digest))
        if image is None:
            return None
        return self.pushed.read().get(self.reference(digest)) if self.settings.registry else str(image.id)

    def build(self, build: Build, tell: Tell) -> str:
        """Build and push an image, as far as that has not been done; return where it is."""
        if not self.get(self.reference(build.digest)) and not self.pulled(build.digest):
            self.run(build, tell)
        if self.settings.registry:
            tell(f"pushing to {self.settings.registry}")
            self.push(build.digest)
        location = self.find(build.digest)
        if location is None:
            raise ReleaseError(
                f"image {build.digest[:12]} was built, and is not there\n`invoke image --force` tries again"
            )
        return location

    def pulled(self, digest: str) -> bool:
        """Get an image that was pushed from elsewhere, and tell whether there is one."""
        if not self.settings.registry:
            return False
        try:
            image = pull(self.engine, self.reference(digest), "image.registry", self.credentials)
        except ReleaseError:
            return False  # whatever is wrong with the registry, pushing tells it
        return bool(image.labels.get(FINGERPRINT) == digest)

    def run(self, build: Build, tell: Tell) -> None:
        """Let the engine build an image, and before it its environment, unless another image has the same."""
        base = self.get(self.settings.base) or pull(self.engine, self.settings.base, "[image] base")
        key = builds.environment_key(build.folder)
        environment = f"localhost/invoke-release-environment:{key}"
        limit_s = self.settings.build_timeout_s
        if not self.get(environment):
            tell(f"installing the image's packages upon {self.settings.base}")
            builds.build_environment(
                self.engine, build.folder, environment, self.wheels, base, {ENVIRONMENT: key}, limit_s
            )
            for stage in self.ours():
                if not stage.tags:
                    self.discard(identifier(stage))  # it has installed the packages
        labels = self.labels(build, base) | {ENVIRONMENT: key}
        builds.build_image(self.engine, build.folder, self.reference(build.digest), environment, labels, limit_s)

    def labels(self, build: Build, base: Any) -> dict[str, str]:
        """Return what an image says of itself, by the names of the Open Container Initiative."""
        return self.engine.labels | {
            f"{OCI}.title": build.model_name,
            f"{OCI}.version": str(build.model_version),
            f"{OCI}.revision": build.commit,
            f"{OCI}.base.name": self.settings.base,
            f"{OCI}.base.digest": next(iter(base.attrs.get("RepoDigests") or []), base.id).rpartition("@")[2],
            FINGERPRINT: build.digest,
        }

    def push(self, digest: str) -> None:
        """Push an image, and remember by which digest the registry knows it. Raises ReleaseError where it refuses."""
        doing = f"pushing to {self.settings.registry}"
        with explained(doing):
            lines = self.engine.client.api.push(
                self.repository, tag=digest, stream=True, decode=True, auth_config=self.credentials
            )
            said = builds.follow(lines, doing, self.settings.build_timeout_s)
        known = re.search(rf"{digest}: digest: (sha256:[0-9a-f]{{64}})", said)
        if known is None:
            raise ReleaseError(f"{doing}: the registry did not say by which digest it knows the image")
        self.pushed.add(self.reference(digest), f"{self.repository}@{known[1]}")

    def of(self, digest: str) -> str:
        """Return what to run for an image; with a registry, what is there. Raises ReleaseError where it is gone."""
        location = self.find(digest)
        if location is None:
            raise ReleaseError(f"image {digest[:12]} is not there any more\n`invoke image --force` builds it anew")
        if self.settings.registry:
            pull(self.engine, location, "image.registry", self.credentials)
        return location

    def remove(self, digest: str) -> None:
        """Remove an image from the engine, and environments that no image of any workspace is built upon.

        Nothing where it is gone; one that somebody else's container runs on stays, and so does what was pushed.
        """
        made = [image for image in self.ours() if image.labels.get(FINGERPRINT) == digest]
        for name in [self.reference(digest), *(tag for image in made for tag in image.tags), *map(identifier, made)]:
            self.discard(name)
        with explained("listing images"):
            built_upon = [image for image in self.engine.client.images.list() if ENVIRONMENT in image.labels]
        needed = {image.labels[ENVIRONMENT] for image in built_upon if FINGERPRINT in image.labels}
        for image in built_upon:
            if image.labels[ENVIRONMENT] not in needed:
                self.discard(next(iter(image.tags), identifier(image)))

    def ours(self) -> list[Any]:
        """Return the images that were made for this workspace; Podman 4 finds none where two labels are asked for."""
        (label,) = self.engine.labels.items()
        with explained("listing images"):
            return list(self.engine.client.images.list(filters={"label": "=".join(label)}))

    def discard(self, reference: str) -> None:
        """Remove an image and what it alone was made from; nothing where it is gone, or in use."""
        with explained(f"removing image {reference}"):
            try:
                self.engine.client.images.remove(reference)
            except docker.errors.NotFound:
                pass
            except docker.errors.APIError as error:
                if error.status_code != IN_USE:
                    raise


def identifier(image: Any) -> str:
    """Return an image's id, as short as Podman wants it of one that may be gone."""
    return str(image.id).removeprefix("sha256:")[:12]


def credentials(env: Env) -> dict[str, str] | None:
    """Return what a registry wants to know, from .env; None leaves it to the engine's own configuration."""
    user, password = env.registry_user, env.registry_password
    return {"username": user, "password": password.reveal()} if user and password else None


def pull(engine: Engine, reference: str, setting: str, auth_config: dict[str, str] | None = None) -> Any:
    """Pull an image. Raises ReleaseError that names the setting which asks for it."""
    name, at, pinned = reference.partition("@")
    if not at:
        name, tag = docker.utils.parse_repository_tag(reference)
        pinned = tag or "latest"
    doing = f"{reference} cannot be pulled"
    try:
        with explained(doing):
            lines = engine.client.api.pull(name, tag=pinned, stream=True, decode=True, auth_config=auth_config)
            builds.follow(lines, doing, PULL_LIMIT_S)
            return engine.client.images.get(reference)
    except ReleaseError as error:
        raise ReleaseError(
            f"{str(error).splitlines()[0]}\nIs {setting} in config/release.toml right, and can it be reached?"
        ) from None


class Pushed:
    """By which digest a registry knows what was pushed there, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, str]:
        """Return where each image is that was pushed."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=dict[str, str])
        except (FileNotFoundError, msgspec.DecodeError):
            return {}  # it is pushed again, which is soon done

    def add(self, reference: str, location: str) -> None:
        """Remember where an image is."""
        files.write(self.path, msgspec.json.encode(self.read() | {reference: location}))
