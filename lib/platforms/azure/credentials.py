"""Sign in to Azure: the first credential that is there, through azure-identity. No secret is needed in CI."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import (
    AzureCliCredential,
    ClientAssertionCredential,
    ClientSecretCredential,
    CredentialUnavailableError,
    ManagedIdentityCredential,
)

from lib.platforms.azure.clouds import authority, management
from lib.settings import Env

ORDER = (
    "service principal of .env, then workload identity (OIDC in CI, or AZURE_FEDERATED_TOKEN_FILE), "
    "then the Azure CLI's login, then managed identity, then signing in at a terminal"
)
CLI_LIMIT_S = 60
PROBE_LIMIT_S = 1.0
RENEW_EARLY_S = 300
EXCHANGE = "api://AzureADTokenExchange"
# Set by Azure itself where an identity is managed without the metadata service of a VM.
ENDPOINTS = ("IDENTITY_ENDPOINT", "MSI_ENDPOINT")


class Login:
    """A credential with its description. Each token is used until shortly before it expires."""

    def __init__(self, credential: Any, description: str) -> None:
        self.description = description
        self._credential = credential
        self._tokens: dict[str, AccessToken] = {}

    def token(self, audience: str) -> str:
        """Return a token for an audience, such as https://management.azure.com/. Raises ClientAuthenticationError."""
        token = self._tokens.get(audience)
        if token is None or token.expires_on - RENEW_EARLY_S < time.time():
            token = self._tokens[audience] = self._credential.get_token(f"{audience.rstrip('/')}/.default")
        return token.token


def find(env: Env) -> tuple[Login | None, list[str]]:
    """Return the first login that works, and why the ones before it did not.

    A principal or workload identity that is configured and refused raises ClientAuthenticationError: the next
    credential may belong to someone else.
    """
    tried = []
    for credential, description in _candidates(env):
        login = Login(credential, description)
        try:
            login.token(management(env))
        except CredentialUnavailableError as error:
            tried.append(f"{description}: {str(error).splitlines()[0]}")
        else:
            return login, tried
    return None, tried


def _candidates(env: Env) -> Iterator[tuple[Any, str]]:
    client, tenant, host = env.azure_client_id, env.azure_tenant_id, authority(env)
    if env.azure_client_secret:
        secret = env.azure_client_secret.reveal()
        principal = ClientSecretCredential(str(tenant), str(client), secret, authority=host)
        yield principal, f"service principal {client} of .env"
    elif client and tenant and (issue := _ci_token()):
        # azure-identity would keep a token from a file for ten minutes, and those of some CI systems last five.
        yield ClientAssertionCredential(tenant, client, issue, authority=host), f"workload identity {client}"
    if shutil.which("az"):
        yield AzureCliCredential(tenant_id=tenant or "", process_timeout=CLI_LIMIT_S), "the Azure CLI's login"
    if any(name in os.environ for name in ENDPOINTS):
        yield ManagedIdentityCredential(client_id=client), "managed identity"
    else:
        yield MetadataCredential(), "managed identity"


def _ci_token() -> Callable[[], str] | None:
    """Return what fetches a new token of the CI system at each call; None outside of one."""
    environ = os.environ
    if file := environ.get("AZURE_FEDERATED_TOKEN_FILE"):
        return lambda: Path(file).read_text()
    if url := environ.get("ACTIONS_ID_TOKEN_REQUEST_URL"):
        secret = environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
        return lambda: _fetch("GET", f"{url}&audience={EXCHANGE}", secret, "value")
    connection = environ.get("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID")
    if connection and (url := environ.get("SYSTEM_OIDCREQUESTURI")):
        secret = environ["SYSTEM_ACCESSTOKEN"]
        url = f"{url}?api-version=7.1&serviceConnectionId={connection}"
        return lambda: _fetch("POST", url, secret, "oidcToken")
    return None


def _fetch(method: str, url: str, secret: str, field: str) -> str:
    """Return a CI system's token. Raises ClientAuthenticationError."""
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    answer = requests.request(method, url, headers=headers, timeout=CLI_LIMIT_S)
    if not answer.ok:
        raise ClientAuthenticationError(f"the CI system gives no identity token: it answers {answer.status_code}")
    return str(answer.json()[field])


class MetadataCredential:
    """The managed identity of a VM. Any answer but a token means that there is none; proxies are never asked."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        """Return a token of the metadata service. Raises CredentialUnavailableError."""
        host = os.environ.get("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://169.254.169.254").rstrip("/")
        query = {"api-version": "2018-02-01", "resource": scopes[0].removesuffix("/.default")}
        try:
            with requests.Session() as session:
                session.trust_env = False
                url = f"{host}/metadata/identity/oauth2/token"
                answer = session.get(url, params=query, headers={"Metadata": "true"}, timeout=PROBE_LIMIT_S)
                token = json.loads(answer.content)
                return AccessToken(token["access_token"], int(token["expires_on"]))
        except (requests.RequestException, ValueError, KeyError, TypeError):
            raise CredentialUnavailableError("this machine has none") from None
