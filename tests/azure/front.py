"""What stands before the services: it checks keys and hands requests on, at http://127.0.0.1:PORT/GROUP/WORKSPACE/..."""

import hmac
import http.client
from typing import Any

from flask import Blueprint, Response, request

from tests.azure.serving import Container
from tests.azure.state import Record, State, Workspace
from tests.azure.web import state

PLACE = "/<group>/<place>/api/v1/service/<name>"
web = Blueprint("front", __name__, url_prefix=PLACE)
tls = Blueprint("front-tls", __name__, url_prefix=PLACE)
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "authorization"}
METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]


def address(state: State, where: Workspace, service: Record) -> str:
    """Return a service's scoring URI: https if its owner brought a certificate for it, or for its cluster."""
    cluster = where.computes.get(service.get("computeName") or "", {}).get("properties", {}).get("properties", {})
    ssl = cluster.get("sslConfiguration") or {}
    host = service.get("cname") or ssl.get("cname")
    if host:
        parts = (service, "sslCertificate", "sslKey") if service.get("cname") else (ssl, "cert", "key")
        state.certificates[host] = "\n".join(parts[0][name] for name in parts[1:])
    base = f"https://{host}" if host else f"http://127.0.0.1:{state.port}"
    return f"{base}/{where.group}/{where.name}/api/v1/service/{service['name']}/score"


@tls.route("/", methods=METHODS)
@tls.route("/<path:path>", methods=METHODS)
@web.route("/", methods=METHODS)
@web.route("/<path:path>", methods=METHODS)
def answer(group: str, place: str, name: str, path: str = "") -> Any:
    """Let a service answer whoever has its key; its health anybody may ask."""
    where = next((one for one in state.workspaces.values() if (one.group, one.name) == (group, place)), None)
    service = where.services.get(name) if where else None
    if where is None or service is None:
        return Response(f"there is no service {name}", 404)
    if path and service["authEnabled"] and not knows_key(service):
        return Response("unauthorized: the key is missing or wrong", 401, {"WWW-Authenticate": "Bearer"})
    with where.serving[name].use() as container:
        if container is None:
            return Response("the service has no healthy container", 503)
        return hand_on(container, path)


def knows_key(service: Record) -> bool:
    """Say whether the request has one of the service's keys."""
    given = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
    keys = [key.encode() for key in service["keys"].values()]
    return any(hmac.compare_digest(given, key) for key in keys)


def hand_on(container: Container, path: str) -> Response:
    """Let a container answer."""
    headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
    target = f"/{path}?{request.query_string.decode()}".rstrip("?")
    connection = http.client.HTTPConnection("127.0.0.1", container.port, timeout=300)
    try:
        connection.request(request.method, target, request.get_data(), headers)
        got = connection.getresponse()
        kept = [(name, value) for name, value in got.getheaders() if name.lower() not in HOP]
        return Response(got.read(), got.status, kept)
    except (OSError, http.client.HTTPException) as error:
        return Response(f"the container does not answer: {error}", 502)
    finally:
        connection.close()
