"""Who we are to Azure: the service principal of .env, the Azure CLI's login, or a person at a terminal."""

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
from lib.platforms.azureml.faults import patiently
from lib.settings import Env

ORDER = "service principal of .env, then the Azure CLI's login, then signing in at a terminal"
MANAGEMENT = "https://management.core.windows.net/"
CLI_LIMIT_S = 60
EARLY_S = 300


class CliTokens:
    """Tokens of the Azure CLI's login, kept for as long as they hold."""

    def __init__(self, program: str, tenant: str | None) -> None:
        self.program = program
        self.tenant = ["--tenant", tenant] if tenant else []
        self.kept: dict[str, tuple[str, float]] = {}

    def get(self, audience: str) -> str:
        """Return a token for an audience. Raises AuthenticationException where nobody is logged in."""
        token, until = self.kept.get(audience, ("", 0.0))
        if until - EARLY_S < time.time():
            token, until = self.ask(audience)
            self.kept[audience] = token, until
        return token

    def hold(self) -> bool:
        """Tell whether anybody is logged in."""
        try:
            return bool(self.get(MANAGEMENT))
        except AuthenticationException:
            return False

    def ask(self, audience: str) -> tuple[str, float]:
        """Ask the CLI for a token and the time at which it ends."""
        command = [
            self.program,
            "account",
            "get-access-token",
            "--resource",
            audience,
            *self.tenant,
            "--output",
            "json",
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=CLI_LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            raise ReleaseError(f"the Azure CLI did not answer within {CLI_LIMIT_S} s\nTry `az account show`") from None
        if done.returncode:
            raise AuthenticationException(f"the Azure CLI: {done.stderr.strip().removeprefix('ERROR: ')}")
        found = json.loads(done.stdout)
        return found["accessToken"], float(found.get("expires_on") or time.time() + 2 * EARLY_S)


def sign_in(env: Env) -> tuple[Any, str]:
    """Return credentials that Azure accepts, and what they are. Raises ReleaseError."""

    def ask() -> tuple[Any, str]:
        try:
            auth, who = choose(env)
            auth.get_authentication_header()
        except (ValueError, MsalError) as error:  # what the sign-in library raises, for a wrong tenant too
            raise AuthenticationException(str(error)) from None
        return auth, who

    return patiently("signing in to Azure", ask)


def choose(env: Env) -> tuple[Any, str]:
    """Return the first credentials that there are, and what they are. Raises ReleaseError where there are none."""
    secret, client = env.azure_client_secret, env.azure_client_id
    tenant = env.azure_tenant_id
    if secret:
        principal = ServicePrincipalAuthentication(tenant, client, secret.reveal())
        return principal, f"service principal {client} of .env"
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if program := shutil.which("az"):
        tokens = CliTokens(program, tenant)
        if not at_terminal or tokens.hold():
            return TokenAuthentication(tokens.get), "the Azure CLI's login"
    if at_terminal:
        return InteractiveLoginAuthentication(tenant_id=tenant), "a person at this terminal"
    raise ReleaseError(
        "there are no credentials for Azure\nPut AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET into .env, "
        f"or run `az login`\nThe order is: {ORDER}"
    )
