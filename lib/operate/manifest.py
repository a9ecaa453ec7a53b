"""`invoke manifest`: Kubernetes manifests of the production service, for the user's own cluster."""

import json
import math
import re
import string
from pathlib import Path

from lib import files
from lib.errors import ReleaseError, SettingsError
from lib.platforms.base import Platform, Production
from lib.settings import Service, Settings

TEMPLATE = Path(__file__).with_suffix(".yaml")
PROBE_S = 2
SECRETS = "/run/secrets/service"


def write(settings: Settings, platform: Platform) -> Path:
    """Write the manifests of the version in production, and return the file.

    Raises ReleaseError if nothing is in production, SettingsError if its image is in no registry.
    """
    production = platform.models.production()
    if production is None:
        raise ReleaseError("nothing is in production yet\n`invoke release` brings a version there")
    location = platform.images.find(production.image) or "deleted"
    if "@sha256:" not in location:
        raise SettingsError(
            f"image {production.image[:12]} is in no registry, so a cluster cannot pull it ({location})\n"
            'Set image.registry, and [local] engine = "container", in config/release.toml, then `invoke release`'
        )
    path = settings.records / "manifest.yaml"
    files.write(path, manifest(settings, production, location).encode())
    return path


def warning(settings: Settings) -> str:
    """Return a warning if other machines cannot reach the registry, else an empty string."""
    registry = settings.release.image.registry
    if not re.match(r"(localhost|127(\.\d+){3})(:\d+)?/", registry):
        return ""
    return f"Warning: only this machine can pull from {registry}: a cluster needs a registry that its nodes can reach"


def manifest(settings: Settings, production: Production, image: str) -> str:
    """Return the manifests of a version; `image` is its reference in a registry, with the digest."""
    release = settings.release
    service = release.services.aks
    container = service.local.container
    return string.Template(TEMPLATE.read_text()).substitute(
        name=service.name,
        model=release.model.name,
        version=production.version,
        digest=production.image,
        image=image,
        replicas=container.replicas,
        workers=service.local.workers,
        cpu=f"{round(container.cpu_cores * 1000)}m",
        memory=f"{round(container.memory_gb * 1024)}Mi",
        request_bytes=release.limits.request_bytes,
        start_attempts=math.ceil(release.limits.start_timeout_s / PROBE_S),
        **_variables(service),
    )


def _variables(service: Service) -> dict[str, str]:
    """Return the lines for the variables of score.py: values as they are, secrets as files of a Secret."""
    env = {**service.env, **({"SERVICE_SECRETS": SECRETS} if service.secrets else {})}
    lines = "".join(f"            - {{name: {name}, value: {json.dumps(value)}}}\n" for name, value in env.items())
    if not service.secrets:
        return {"env": lines, "mount": "", "volume": "", "steps": ""}
    name = f"{service.name}-secrets"
    files = " ".join(f"--from-file={each}" for each in service.secrets)
    return {
        "env": lines,
        "mount": f"            - {{name: secrets, mountPath: {SECRETS}, readOnly: true}}\n",
        "volume": f"        - name: secrets\n          secret:\n            secretName: {name}\n"
        "            defaultMode: 0440\n",
        "steps": "# And the secrets of service/score.py, likewise:\n"
        f"#   kubectl create secret generic {name} {files}\n",
    }
