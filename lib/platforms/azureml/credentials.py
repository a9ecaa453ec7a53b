"""The sign-in for the SDK: a credential of lib/platforms/azure, or a person's browser."""

import sys
from typing import Any

from azure.core.exceptions import ClientAuthenticationError
from azureml.core.authentication import InteractiveLoginAuthentication, TokenAuthentication
from azureml.exceptions import AuthenticationException
from msal.exceptions import MsalError

from lib.errors import ReleaseError
from lib.platforms.azure import credentials
from lib.platforms.azureml.retry import retrying
from lib.settings import Env

ORDER = credentials.ORDER


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
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    cloud = env.azureml_current_cloud
    try:
        login, tried = credentials.find(env)
    except ClientAuthenticationError:
        if not at_terminal or env.azure_client_id:
            raise
        login, tried = None, []  # the CLI's login has expired, and a person can sign in here
    if login:
        unavailable = f" (not available: {', '.join(line.partition(':')[0] for line in tried)})" if tried else ""
        return TokenAuthentication(login.token, cloud=cloud), login.description + unavailable
    if at_terminal:
        return InteractiveLoginAuthentication(tenant_id=env.azure_tenant_id, cloud=cloud), "a person at this terminal"
    raise ReleaseError(
        f"there are no credentials for Azure ({'; '.join(tried)})\nRun `az login`, or put AZURE_TENANT_ID, "
        f"AZURE_CLIENT_ID and AZURE_CLIENT_SECRET into .env\nThe order is: {ORDER}"
    )
