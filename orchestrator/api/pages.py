"""The pages for people: Swagger UI, ReDoc and a way to them, with no internet.

The scripts come from a package of static files (ADR 0005); it is read, never imported.
"""

import hashlib
from functools import cache
from importlib import resources, util

from aiohttp import ETag, web
from aiohttp.typedefs import Handler

from orchestrator.api import openapi
from orchestrator.api.render import JSON

_PACKAGE = "fastapi_offline"
# Nothing from elsewhere, no inline script. Both pages write their own styles and draw data: images;
# ReDoc searches in a worker that it makes itself.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "redoc.standalone.js": "text/javascript",
    "favicon.png": "image/png",
}
# ReDoc shows its maker's mark from its maker's server: an empty picture instead.
_ELSEWHERE = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
_EMPTY = b"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>"

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="/docs/assets/favicon.png">
{head}
</head>
<body>
{body}
</body>
</html>
"""
_SWAGGER = _PAGE.format(
    title="Workflow Management API - Swagger UI",
    head='<link rel="stylesheet" href="/docs/assets/swagger-ui.css">',
    body='<div id="swagger-ui"></div>\n<script src="/docs/assets/swagger-ui-bundle.js"></script>\n'
    '<script src="/docs/assets/start-swagger.js"></script>',
)
_REDOC = _PAGE.format(
    title="Workflow Management API - ReDoc",
    head="<style>body { margin: 0; padding: 0 }</style>",
    body='<div id="redoc"></div>\n<script src="/docs/assets/redoc.standalone.js"></script>\n'
    '<script src="/docs/assets/start-redoc.js"></script>',
)
_HOME = _PAGE.format(
    title="Workflow Management API",
    head="<style>body { font: 1rem/1.6 system-ui, sans-serif; margin: 3rem auto; max-width: 40rem;"
    " padding: 0 1rem }</style>",
    body="""<h1>Workflow Management API</h1>
<p>The orchestrator is running. The API is at <code>/api/v1</code>.</p>
<ul>
<li><a href="/docs">/docs</a>: try the API (Swagger UI)</li>
<li><a href="/redoc">/redoc</a>: read the API (ReDoc)</li>
<li><a href="/openapi.json">/openapi.json</a>: the OpenAPI document</li>
<li><a href="/health/ready">/health/ready</a>: is it ready for work?</li>
<li><a href="/metrics">/metrics</a>: metrics for Prometheus</li>
</ul>""",
)
# Requests tried out on the page go to the server that the page came from, whatever its address.
_LOAD = b"""async function document_of_this_server() {
  const answer = await fetch("/openapi.json");
  return { ...(await answer.json()), servers: [{ url: "/" }] };
}
"""
_SCRIPTS = {
    "start-swagger.js": _LOAD
    + b"""document_of_this_server().then((spec) => SwaggerUIBundle({
  spec,
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
}));
""",
    "start-redoc.js": _LOAD
    + b"""document_of_this_server().then(
  (spec) => Redoc.init(spec, { hideLoading: true }, document.getElementById("redoc")),
);
""",
}


def add_routes(app: web.Application) -> None:
    """Register the pages; they are no part of the API and not in its document."""
    app.router.add_get("/", _html(_HOME))
    app.router.add_get("/docs", _html(_SWAGGER))
    app.router.add_get("/redoc", _html(_REDOC))
    app.router.add_get("/openapi.json", _document)
    app.router.add_get("/docs/assets/{name}", _asset)


def asset(name: str) -> tuple[bytes, str]:
    """Return a file and its type; raise `KeyError` for a name that is not ours."""
    if name in _SCRIPTS:
        return _SCRIPTS[name], "text/javascript"
    kind = _ASSETS[name]
    return _read(name).replace(_ELSEWHERE, _EMPTY), kind


def _html(text: str) -> Handler:
    async def show(_: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": _POLICY}
        return web.Response(text=text, content_type="text/html", headers=headers)

    return show


async def _document(_: web.Request) -> web.Response:
    return web.Response(body=openapi.document_bytes(), content_type=JSON)


async def _asset(request: web.Request) -> web.Response:
    try:
        content, kind = asset(request.match_info["name"])
    except KeyError:
        raise web.HTTPNotFound from None
    etag = ETag(hashlib.sha256(content).hexdigest()[:32])
    headers = {"Cache-Control": "public, max-age=3600"}
    if etag in (request.if_none_match or ()):
        answer = web.Response(status=304, headers=headers)
    else:
        answer = web.Response(body=content, content_type=kind, headers=headers)
    answer.etag = etag
    return answer


@cache
def _read(name: str) -> bytes:
    # A module that is not executed: its folder is wanted, not the framework that it extends.
    spec = util.find_spec(_PACKAGE)
    if spec is None:
        raise FileNotFoundError(f"the package {_PACKAGE} is missing: reinstall the program")
    return (resources.files(util.module_from_spec(spec)) / "static" / name).read_bytes()
