"""What the interfaces share: the workspace that an address names, tokens, and errors as Azure words them."""

from typing import Any, cast

import jwt
from flask import Blueprint, Flask, current_app, g, jsonify, request
from jwt.types import Options
from werkzeug.exceptions import HTTPException
from werkzeug.local import LocalProxy

from tests.azure.state import State, Workspace

SOVEREIGN = ("usgovcloudapi.net", "chinacloudapi.cn")
SCOPE = (
    "/subscriptions/<subscription>/resourceGroups/<group>"
    "/providers/Microsoft.MachineLearningServices/workspaces/<workspace>"
)

state = cast(State, LocalProxy(lambda: current_app.config["STATE"]))
workspace = cast(Workspace, LocalProxy(lambda: g.workspace))


class Problem(Exception):  # noqa: N818 - it is an answer, which a client may well expect
    """An answer that is an error."""

    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.more = status, code, message, more


def missing(message: str) -> Problem:
    """Return the problem of something that is not there."""
    return Problem(404, "NotFound", message)


def here(blueprint: Blueprint) -> Blueprint:
    """Let a blueprint's addresses name a workspace, which must exist."""

    @blueprint.url_value_preprocessor
    def find(endpoint: str | None, values: dict[str, Any] | None) -> None:
        if values is None:
            return
        names = [values.pop(name, "") for name in ("subscription", "group", "workspace")]
        if all(names):
            g.workspace = find_workspace(*names)

    return blueprint


def find_workspace(subscription: str, group: str, name: str) -> Workspace:
    """Return a workspace. Raises Problem as Azure does where it is missing."""
    scope = f"/subscriptions/{subscription}/resourceGroups/{group}"
    path = f"Microsoft.MachineLearningServices/workspaces/{name}"
    found = state.workspaces.get(f"{scope}/providers/{path}".lower())
    if found is None and scope.lower() not in state.groups:
        raise Problem(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")
    if found is None:
        message = (
            f"The Resource '{path}' under resource group '{group}' was not found. "
            "For more details please go to https://aka.ms/ARMResourceNotFoundFix"
        )
        raise Problem(404, "ResourceNotFound", message)
    return found


def current() -> tuple[State, Workspace]:
    """Return state and workspace themselves, for threads that outlive the request."""
    return current_app.config["STATE"], g.workspace


def issue(claims: dict[str, Any]) -> str:
    """Sign a token."""
    return jwt.encode(claims, current_app.config["SIGNING_KEY"], algorithm="HS256")


def authorize() -> None:
    """Let nobody in without a token that was issued here and still holds."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    try:
        if kind.lower() != "bearer":
            raise jwt.InvalidTokenError("the request has no bearer token")
        options: Options = {"verify_aud": False, "verify_iat": False}
        g.claims = jwt.decode(token, current_app.config["SIGNING_KEY"], algorithms=["HS256"], options=options)
    except jwt.InvalidTokenError as error:
        code = "ExpiredAuthenticationToken" if isinstance(error, jwt.ExpiredSignatureError) else "InvalidToken"
        raise Problem(401, code, f"The access token is invalid: {error}") from None
    clouds = [sovereign(name) for name in (request.host, str(g.claims.get("aud", "")))]
    if clouds[0] != clouds[1]:
        raise Problem(401, "InvalidAuthenticationTokenAudience", "The access token is of another cloud.")


def sovereign(name: str) -> str:
    """Return which sovereign cloud a host or an audience belongs to; nothing for the public one."""
    return next((cloud for cloud in SOVEREIGN if cloud in name), "")


def application(name: str, state: State, key: str, *blueprints: Blueprint, open_to_all: bool = False) -> Flask:
    """Return an application that answers for one kind of host."""
    app = Flask(name, static_folder=None)
    app.config.update(STATE=state, SIGNING_KEY=key)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    for blueprint in blueprints:
        app.register_blueprint(blueprint)

    @app.before_request
    def check() -> None:
        if request.routing_exception:
            request.environ["loopback.unknown"] = True
            raise Problem(400, "LoopbackUnknown", f"the loopback Azure does not know {request.method} {request.path}")
        request.environ["loopback.rule"] = f"{request.url_rule}"
        if not open_to_all:
            authorize()

    # Routing fails before `check` would run where a preprocessor looks at the values, so both are handled alike.
    @app.errorhandler(Problem)
    def refuse(problem: Problem) -> Any:
        error = {"code": problem.code, "message": problem.message, **problem.more}
        body = {"error": error, "statusCode": problem.status, "code": problem.code, "message": problem.message}
        return jsonify(body), problem.status

    @app.errorhandler(HTTPException)
    def refuse_all(problem: HTTPException) -> Any:
        return refuse(Problem(problem.code or 400, problem.name.replace(" ", ""), problem.description or ""))

    return app


def body() -> dict[str, Any]:
    """Return the request's JSON."""
    return request.get_json(force=True, silent=True) or {}
