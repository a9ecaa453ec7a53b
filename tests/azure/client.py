"""What a client of the loopback Azure needs: who it is, and its environment."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Identity:
    """Whoever may sign in."""

    tenant: str = "72f988bf-0000-4000-8000-00000000a0a1"
    subscription: str = "5ab5c819-0000-4000-8000-00000000a0a2"
    client: str = "c11e0000-0000-4000-8000-00000000a0a3"
    secret: str = "loopback~secret.for-tests-only"
    person: str = "somebody@loopback.test"


def environment(port: int, authority: str, home: Path) -> dict[str, str]:
    """Return the variables that make a client process use the loopback Azure."""
    identity = Identity()
    proxy = f"http://127.0.0.1:{port}"
    return {
        "HTTPS_PROXY": proxy,
        "https_proxy": proxy,
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "REQUESTS_CA_BUNDLE": authority,
        "SSL_CERT_FILE": authority,
        "AZUREML_CURRENT_CLOUD": "AzureCloud",
        "AZUREML_LOG_DEPRECATION_WARNING_ENABLED": "False",
        "HOME": str(home),
        "AZURE_TENANT_ID": identity.tenant,
        "AZURE_CLIENT_ID": identity.client,
        "AZURE_CLIENT_SECRET": identity.secret,
        "AZURE_SUBSCRIPTION_ID": identity.subscription,
    }
