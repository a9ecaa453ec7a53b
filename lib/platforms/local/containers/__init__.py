"""The local platform's containers: an engine, its images, the replicas that it runs. Imported only where used."""

from lib.platforms.local.containers.balancer import Balancer
from lib.platforms.local.containers.engine import Engine
from lib.platforms.local.containers.images import Images
from lib.platforms.local.containers.replicas import Containers
from lib.settings import Settings


class ContainerEngine:
    """What the platform uses of a container engine."""

    def __init__(self, settings: Settings) -> None:
        release, folder = settings.release, settings.folder
        self.engine = Engine(folder)
        self.images = Images(self.engine, release.model.name, release.image, settings.env, folder)
        balancer = Balancer(self.engine, release.local.balancer, release.limits)
        self.replicas = Containers(self.engine, self.images, balancer, folder / "services", release.limits)
