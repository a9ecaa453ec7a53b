"""Container images: built by the engine from the bundles that run as processes, and pushed if a registry is set."""

import re
from pathlib import Path
from typing import Any

import docker.errors
import docker.utils
import msgspec

from lib import files
from lib.errors import ReleaseError
from lib.image.assemble import base_of
from lib.platforms.base import Build, Tell
from lib.platforms.local.containers import builds
from lib.platforms.local.containers.engine import Engine, explained
from lib.settings import Env, ImageSettings

FINGERPRINT = "invoke-release.fingerprint"
ENVIRONMENT_LABEL = "invoke-release.environment"
IN_USE = 409  # HTTP's Conflict: how an engine refuses to remove an image that a container uses
PULL_LIMIT_S = 1800.0
OCI = "org.opencontainers.image"


class Images:
    """The engine's images of one workspace. An image's tag is the digest of the bundle that it was built from."""

    def __init__(self, engine: Engine, model: str, settings: ImageSettings, env: Env, folder: Path) -> None:
        self._engine = engine
        self._settings = settings
        self._repository = settings.registry or f"localhost/{model}-{engine.name}"
        self._credentials = _credentials(env)
        self._wheels = folder / "wheels"
        self._pushed = Pushed(folder / "pushed.json")

    def _reference(self, digest: str) -> str:
        """Return the name of an image in the engine and in the registry."""
        return f"{self._repository}:{digest}"

    def _get(self, reference: str) -> Any:
        """Return an image of the engine; None if the engine has no image of this name."""
        with explained(f"looking for image {reference}"):
            try:
                return self._engine.client.images.get(reference)
            except docker.errors.NotFound:
                return None

    def _tagged(self, digest: str) -> Any:
        """Return the engine's image with a digest as its tag; None if there is none, or if somebody moved the tag."""
        image = self._get(self._reference(digest))
        return image if image and image.labels.get(FINGERPRINT) == digest else None

    def find(self, digest: str) -> str | None:
        """Return an image's location: with a registry its digest there, otherwise its id in the engine."""
        image = self._tagged(digest)
        if image is None:
            return None
        return self._pushed.read().get(self._reference(digest)) if self._settings.registry else str(image.id)

    def build(self, build: Build, tell: Tell) -> str:
        """Build and push an image unless that was done before. Return its location."""
        if not self._tagged(build.digest) and not self._pull(build.digest):
            self._run(build, tell)
        if self._settings.registry:
            tell(f"pushing to {self._settings.registry}")
            self._push(build.digest)
        location = self.find(build.digest)
        if location is None:
            raise ReleaseError(
                f"image {build.digest[:12]} was built, but does not exist\n`invoke image --force` tries again"
            )
        return location

    def _pull(self, digest: str) -> bool:
        """Pull an image that another machine pushed, and return whether there is one."""
        if not self._settings.registry:
            return False
        try:
            image = pull(self._engine, self._reference(digest), "image.registry", self._credentials)
        except ReleaseError:
            return False  # if the registry has a problem, the push reports it
        return bool(image.labels.get(FINGERPRINT) == digest)

    def _run(self, build: Build, tell: Tell) -> None:
        """Let the engine build an image, and its environment first, unless another image shares that."""
        name = base_of(build.folder)
        base = self._get(name) or pull(self._engine, name, "[image] base")
        key = builds.environment_key(build.folder)
        environment = f"localhost/invoke-release-environment:{key}"
        limit_s = self._settings.build_timeout_s
        if not self._get(environment):
            tell(f"installing the image's packages on {name}")
            builds.build_environment(
                self._engine, build.folder, environment, self._wheels, base, {ENVIRONMENT_LABEL: key}, limit_s
            )
            for stage in self._ours():
                if not stage.tags:
                    self._discard(_identifier(stage))  # the build stage that compiled the packages
        labels = self._labels(build, base) | {ENVIRONMENT_LABEL: key}
        builds.build_image(self._engine, build.folder, self._reference(build.digest), environment, labels, limit_s)

    def _labels(self, build: Build, base: Any) -> dict[str, str]:
        """Return an image's labels, named as the Open Container Initiative does."""
        return self._engine.labels | {
            f"{OCI}.title": build.model_name,
            f"{OCI}.version": str(build.model_version),
            f"{OCI}.revision": build.commit,
            f"{OCI}.base.name": base_of(build.folder),
            f"{OCI}.base.digest": next(iter(base.attrs.get("RepoDigests") or []), base.id).rpartition("@")[2],
            FINGERPRINT: build.digest,
        }

    def _push(self, digest: str) -> None:
        """Push an image, and store its digest in the registry. Raises ReleaseError if the registry refuses."""
        doing = f"pushing to {self._settings.registry}"
        with explained(doing):
            lines = self._engine.client.api.push(
                self._repository, tag=digest, stream=True, decode=True, auth_config=self._credentials
            )
            output = builds.follow(lines, doing, self._settings.build_timeout_s)
        match = re.search(rf"{digest}: digest: (sha256:[0-9a-f]{{64}})", output)
        if match is None:
            raise ReleaseError(f"{doing}: the registry did not report the image's digest")
        self._pushed.add(self._reference(digest), f"{self._repository}@{match[1]}")

    def of(self, digest: str) -> str:
        """Return the location of an image to run, after a pull if there is a registry. Raises ReleaseError."""
        location = self.find(digest)
        if location is None:
            raise ReleaseError(f"image {digest[:12]} is not there any more\n`invoke image --force` builds it again")
        if self._settings.registry:
            pull(self._engine, location, "image.registry", self._credentials)
        return location

    def remove(self, digest: str) -> None:
        """Remove an image from the engine, and environments that no image of any workspace needs.

        Idempotent. An image that another container uses stays, and the registry keeps what was pushed.
        """
        images = [image for image in self._ours() if image.labels.get(FINGERPRINT) == digest]
        tags = [tag for image in images for tag in image.tags]
        for name in [self._reference(digest), *tags, *map(_identifier, images)]:
            self._discard(name)
        with explained("listing images"):
            labelled = [image for image in self._engine.client.images.list() if ENVIRONMENT_LABEL in image.labels]
        needed = {image.labels[ENVIRONMENT_LABEL] for image in labelled if FINGERPRINT in image.labels}
        for image in labelled:
            if image.labels[ENVIRONMENT_LABEL] not in needed:
                self._discard(next(iter(image.tags), _identifier(image)))

    def _ours(self) -> list[Any]:
        """Return this workspace's images. Asks for one label, because Podman 4 finds nothing by two."""
        (label,) = self._engine.labels.items()
        with explained("listing images"):
            return list(self._engine.client.images.list(filters={"label": "=".join(label)}))

    def _discard(self, reference: str) -> None:
        """Remove an image and the layers that only it uses, unless it is missing or in use."""
        with explained(f"removing image {reference}"):
            try:
                self._engine.client.images.remove(reference)
            except docker.errors.NotFound:
                pass
            except docker.errors.APIError as error:
                if error.status_code != IN_USE:
                    raise


def _identifier(image: Any) -> str:
    """Return an image's short id: Podman answers a long id of a missing image with an error other than "not found"."""
    return str(image.id).removeprefix("sha256:")[:12]


def _credentials(env: Env) -> dict[str, str] | None:
    """Return the registry's credentials from .env; None leaves them to the engine's own configuration."""
    user, password = env.registry_user, env.registry_password
    return {"username": user, "password": password.reveal()} if user and password else None


def pull(engine: Engine, reference: str, setting: str, auth_config: dict[str, str] | None = None) -> Any:
    """Pull an image. The ReleaseError names the setting that asks for it."""
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
    """A file with the registry's digest of each pushed image."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, str]:
        """Return the location of each pushed image."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
        except (FileNotFoundError, msgspec.DecodeError):
            return {}  # pushing again is quick: the registry has all layers

    def add(self, reference: str, location: str) -> None:
        """Store an image's location."""
        files.write(self._path, msgspec.json.encode(self.read() | {reference: location}))
