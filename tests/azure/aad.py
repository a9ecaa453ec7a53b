"""Azure Active Directory: tokens for the one service principal and the one person that may sign in."""

import time
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, jsonify, request

from tests.azure.faults import Fault
from tests.azure.state import new_id
from tests.azure.web import issue, state

web = Blueprint("aad", __name__)
LIFETIME_S = 3600
SHORT_S = 1  # what a client is told: it then renews its token while a task runs
CI_LIFETIME_S = 5
ci_tokens: dict[str, float] = {}  # each with its end; a token is good for one exchange


@web.get("/common/discovery/instance")
def instance() -> Any:
    """Say where tenants are described."""
    network = {"preferred_network": "login.microsoftonline.com", "preferred_cache": "login.windows.net"}
    names = ["login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"]
    endpoint = f"{request.host_url}{state.identity.tenant}/v2.0/.well-known/openid-configuration"
    return {"tenant_discovery_endpoint": endpoint, "api-version": "1.1", "metadata": [network | {"aliases": names}]}


@web.get("/<tenant>/v2.0/.well-known/openid-configuration")
def configuration(tenant: str) -> Any:
    """Describe the tenant, or say that there is none."""
    if tenant not in (state.identity.tenant, "common", "organizations"):
        return refuse(wrong_tenant(tenant))
    base = f"{request.host_url}{tenant}"
    return {
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
        "issuer": f"{base}/v2.0",
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "tenant_region_scope": "EU",
        "cloud_instance_name": "microsoftonline.com",
    }


def ci_token() -> str:
    """Return a new identity token of a CI system, which holds for a few seconds."""
    made = issue({"sub": "repo:someone/release:ref:refs/heads/main", "jti": new_id()})
    ci_tokens[made] = time.monotonic() + CI_LIFETIME_S
    return made


@web.post("/<tenant>/oauth2/v2.0/token")
def token(tenant: str) -> Any:
    """Exchange a client's secret or a person's refresh token for an access token."""
    form, identity = request.form, state.identity
    kinds = ("wrong-tenant", "wrong-client", "wrong-secret", "expired-secret", "expired-login")
    fault = state.faults.take(f"POST {request.host}{request.path}", *kinds)
    if fault or tenant not in (identity.tenant, "organizations", "common"):
        return refuse(answer(fault or Fault("wrong-tenant"), tenant, form.get("client_id", "")))
    if form.get("grant_type") == "refresh_token":
        if form.get("refresh_token") != identity.secret:
            return refuse(answer(Fault("expired-login"), tenant, ""))
        return grant({"upn": identity.person, "idtyp": "user"}) | {"refresh_token": identity.secret}
    return sign_in_client(tenant, form)


def sign_in_client(tenant: str, form: Mapping[str, str]) -> Any:
    """Exchange a client's secret, or a CI system's token for it, for an access token."""
    claims = {"appid": state.identity.client, "idtyp": "app"}
    if form.get("client_id") != state.identity.client:
        return refuse(answer(Fault("wrong-client"), tenant, form.get("client_id", "")))
    if assertion := form.get("client_assertion"):
        if ci_tokens.pop(assertion, 0.0) < time.monotonic():
            return refuse((401, "invalid_client", 700024, "Client assertion is not within its valid time range."))
        return grant(claims, SHORT_S)
    if form.get("client_secret") != state.identity.secret:
        return refuse(answer(Fault("wrong-secret"), tenant, form.get("client_id", "")))
    return grant(claims)


def grant(claims: dict[str, Any], lifetime_s: int = LIFETIME_S, scope: str = "") -> dict[str, Any]:
    """Return a token for whatever resource was asked for."""
    now = int(time.time())
    scope = scope or request.form.get("scope", "")
    claims = claims | {
        "aud": scope.split("/.default", maxsplit=1)[0],
        "iss": f"https://sts.windows.net/{state.identity.tenant}/",
        "iat": now,
        "nbf": now,
        "exp": now + LIFETIME_S,  # a request that is on its way when the told time ends is no error
        "tid": state.identity.tenant,
        "oid": "0b1ec7ed-0000-4000-8000-00000000a0a4",
    }
    return {
        "token_type": "Bearer",
        "expires_in": lifetime_s,
        "ext_expires_in": lifetime_s,
        "access_token": issue(claims),
    }


def wrong_tenant(tenant: str) -> tuple[int, str, int, str]:
    """Return the answer for a tenant that does not exist."""
    message = (
        f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the "
        "correct cloud. Check with your subscription administrator, this may happen if there are no active "
        "subscriptions for the tenant."
    )
    return 400, "invalid_tenant", 90002, message


def answer(fault: Fault, tenant: str, client: str) -> tuple[int, str, int, str]:
    """Return status, error, number and message of a refusal."""
    return {
        "wrong-tenant": wrong_tenant(tenant),
        "wrong-client": (
            400,
            "unauthorized_client",
            700016,
            f"Application with identifier '{client}' was not found in the directory 'Loopback'. This can happen if "
            "the application has not been installed by the administrator of the tenant or consented to by any user "
            "in the tenant. You may have sent your authentication request to the wrong tenant.",
        ),
        "wrong-secret": (
            401,
            "invalid_client",
            7000215,
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, "
            f"not the client secret ID, for a secret added to app '{client}'.",
        ),
        "expired-secret": (
            401,
            "invalid_client",
            7000222,
            f"The provided client secret keys for app '{client}' are expired. Visit the Azure portal to create new "
            "keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added "
            "security: https://aka.ms/certCreds.",
        ),
        "expired-login": (
            400,
            "invalid_grant",
            700082,
            "The refresh token has expired due to inactivity. The token was issued on 2026-01-01T00:00:00.0000000Z "
            "and was inactive for 90.00:00:00.",
        ),
    }[fault.kind]


def refuse(answer: tuple[int, str, int, str]) -> Any:
    """Answer with an error as AAD words it."""
    status, error, number, message = answer
    trace, correlation, stamp = new_id(), new_id(), time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
    body = {
        "error": error,
        "error_description": f"AADSTS{number}: {message} Trace ID: {trace} Correlation ID: {correlation} "
        f"Timestamp: {stamp}",
        "error_codes": [number],
        "timestamp": stamp,
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": f"{request.host_url}error?code={number}",
    }
    return jsonify(body), status
