"""Check which version a service answers with after a deployment, and what it predicts."""

import time

from lib.errors import UnhealthyError
from lib.platforms.azureml import tls, webservices
from lib.platforms.azureml.webservices import read_keys
from lib.platforms.azureml.workspace import Connection
from lib.platforms.base import Deployment
from lib.webservice import Client, identity, identity_mismatch

# After an update, the replicas of the previous version may answer for a moment.
TAKEOVER_LIMIT_S = 10.0
POLL_S = 0.2


def check(connection: Connection, deployment: Deployment) -> None:
    """Raise UnhealthyError if a service does not answer as deployed."""
    name, version = deployment.service.name, deployment.model_version
    webservice = webservices.find(connection, name)
    if trouble := tls.exposed(deployment.service, webservice.scoring_uri or ""):
        raise UnhealthyError(f"{name}: {trouble}")
    key, _ = read_keys(webservice)
    expected = identity(deployment.model_name, version, deployment.image)
    until = time.monotonic() + TAKEOVER_LIMIT_S
    while (trouble := identity_mismatch(webservice.scoring_uri, key, expected)) and time.monotonic() < until:
        time.sleep(POLL_S)
    if not trouble and deployment.rows:
        trouble = Client(webservice.scoring_uri, key).mismatch(deployment.rows, deployment.predictions, deployment.form)
    if trouble:
        raise UnhealthyError(f"{name} does not serve version {version}: {trouble}")
