"""Sign in to Azure: with the service principal of .env, with the Azure CLI's login, or in a browser."""

import json
import shutil
import subprocess
import sys
import time
from typing import Any

from azureml.core.authentication import (
    InteractiveLoginAuthentication,
    ServicePrincipalAuthentication,
    TokenAuthentication,
)
from azureml.exceptions import AuthenticationException
from msal.exceptions import MsalError

from lib.errors import ReleaseError
from lib.platforms.azureml.retry import retrying
from lib.settings import Env

ORDER = "service principal of .env, then the Azure CLI's login, then signing in at a terminal"
MANAGEMENT = "https://management.core.windows.net/"
CLI_LIMIT_S = 60
RENEW_EARLY_S = 300


class CliTokens:
    """Tokens of the Azure CLI's login. Each is used until shortly before it expires."""

    def __init__(self, program: str, tenant: str | None) -> None:
        self._program = program
        self._tenant = ["--tenant", tenant] if tenant else []
        self._tokens: dict[str, tuple[str, float]] = {}

    def get(self, audience: str) -> str:
        """Return a token for an audience. Raises AuthenticationException if the CLI is not signed in."""
        token, expires = self._tokens.get(audience, ("", 0.0))
        if expires - RENEW_EARLY_S < time.time():
            token, expires = self._request(audience)
            self._tokens[audience] = token, expires
        return token

    def available(self) -> bool:
        """Return whether the CLI is signed in."""
        try:
            return bool(self.get(MANAGEMENT))
        except AuthenticationException:
            return False

    def _request(self, audience: str) -> tuple[str, float]:
        """Return a new token, and when it expires."""
        options = ["--resource", audience, *self._tenant, "--output", "json"]
        command = [self._program, "account", "get-access-token", *options]
        try:
            process = subprocess.run(command, capture_output=True, text=True, timeout=CLI_LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            raise ReleaseError(f"the Azure CLI did not answer within {CLI_LIMIT_S} s\nTry `az account show`") from None
        if process.returncode:
            raise AuthenticationException(f"the Azure CLI: {process.stderr.strip().removeprefix('ERROR: ')}")
        answer = json.loads(process.stdout)
        return answer["accessToken"], float(answer.get("expires_on") or time.time() + 2 * RENEW_EARLY_S)


def sign_in(env: Env) -> tuple[Any, str]:
    """Return credentials that Azure accepts, and a description of them. Raises ReleaseError."""

    def attempt() -> tuple[Any, str]:
        try:
            auth, description = _choose(env)
            auth.get_authentication_header()
        except (ValueError, MsalError) as error:  # msal raises these, for an unknown tenant too
            raise AuthenticationException(str(error)) from None
        return auth, description

    return retrying("signing in to Azure", attempt)


def _choose(env: Env) -> tuple[Any, str]:
    """Return the first credentials that exist, and a description. Raises ReleaseError if there are none."""
    secret, client = env.azure_client_secret, env.azure_client_id
    tenant = env.azure_tenant_id
    if secret:
        principal = ServicePrincipalAuthentication(tenant, client, secret.reveal())
        return principal, f"service principal {client} of .env"
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if program := shutil.which("az"):
        tokens = CliTokens(program, tenant)
        if not at_terminal or tokens.available():
            return TokenAuthentication(tokens.get), "the Azure CLI's login"
    if at_terminal:
        return InteractiveLoginAuthentication(tenant_id=tenant), "a person at this terminal"
    raise ReleaseError(
        "there are no credentials for Azure\nPut AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET into .env, "
        f"or run `az login`\nThe order is: {ORDER}"
    )
