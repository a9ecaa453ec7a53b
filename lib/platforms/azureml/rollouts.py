"""Deploy a version to a service so that a failure never takes down the version before it.

A service is updated in place and never deleted here: deleting one loses its address and both of its keys.
"""

from typing import Any

from lib.errors import ReleaseError, UnhealthyError
from lib.platforms.azureml.assets import Assets
from lib.platforms.azureml.checking import check
from lib.platforms.azureml.restoring import back_up, put_back
from lib.platforms.azureml.starting import Start, tags
from lib.platforms.azureml.waiting import StillDeployingError, wait
from lib.platforms.base import Deployment


def roll_out(assets: Assets, deployment: Deployment, webservice: Any) -> None:
    """Create or update a service, wait for it, and check it. Raises UnhealthyError after putting things back.

    `webservice` is the SDK's object of the service if it exists. A deployment of the same version that goes on is
    continued. Raises StillDeployingError at the time limit.
    """
    goes_on = webservice is not None and _goes_on(assets, deployment, webservice)
    start = None if goes_on else Start(assets, deployment)
    backup = back_up(webservice, deployment.service, assets.models.name) if webservice is not None else None
    try:
        started = start.run(backup.keys if backup else None) if start else webservice
        wait(started, assets.settings.release.azureml.deploy_timeout_s)
        if backup:
            backup.restore_keys()
        check(assets.connection, deployment)
    except StillDeployingError:
        raise
    except ReleaseError as error:
        raise UnhealthyError(f"{error}\n{put_back(assets, deployment, backup)}") from None


def _goes_on(assets: Assets, deployment: Deployment, webservice: Any) -> bool:
    """Return whether Azure is still deploying the same version with the same settings."""
    same = (webservice.tags or {}).items() >= tags(assets, deployment).items()
    return bool(same and webservice.state == "Transitioning")
