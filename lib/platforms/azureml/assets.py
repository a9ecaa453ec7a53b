"""What a release works with in its workspace."""

from dataclasses import dataclass

from lib.platforms.azureml.images import Images
from lib.platforms.azureml.models import Models
from lib.platforms.azureml.ownership import Ownership
from lib.platforms.azureml.workspace import Connection
from lib.settings import Settings


@dataclass(frozen=True)
class Assets:
    """The workspace, the settings, the models and images of a release, and how it recognises what is its own."""

    connection: Connection
    settings: Settings
    models: Models
    images: Images
    ownership: Ownership
