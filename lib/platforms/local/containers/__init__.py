"""The local platform's containers: an engine, its images, the replicas that it runs. Imported only if used."""

from lib.platforms.local.containers.balancer import Balancer
from lib.platforms.local.containers.engine import Engine
from lib.platforms.local.containers.images import Images
from lib.platforms.local.containers.replicas import ContainerReplicas
from lib.settings import Settings


class ContainerEngine:
    """A container engine, its images, and the replicas of services."""

    def __init__(self, settings: Settings) -> None:
        release, folder = settings.release, settings.folder
        self.engine = Engine(folder)
        self.images = Images(self.engine, release.model.name, release.image, settings.env, folder)
        balancer = Balancer(self.engine, release.local.balancer, release.limits, folder / "balancers")
        self.replicas = ContainerReplicas(self.engine, self.images, balancer, folder / "services", release.limits)
