"""The server's paths; see `static/server.js` for who asks for them."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from wsiproc.errors import StoreError, WsiprocError
from wsiproc.results.stored import StoredResult
from wsiproc.view.columns import column_bytes, row_of, row_with_id
from wsiproc.view.differing import Differing
from wsiproc.view.guard import Guarded
from wsiproc.view.outlines import Outlines, tissue_rings
from wsiproc.view.shown import KEYS, Shown, facts

_BINARY: Final = "application/octet-stream"
_KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
}


def app_of(shown: Shown, token: str) -> ASGIApp:
    """The application that shows results, below ``/TOKEN/`` only.

    Parameters
    ----------
    shown
        What is shown.
    token
        Who does not know it sees nothing.
    """
    results = dict(zip(KEYS, shown.results, strict=False))
    outlines = {key: Outlines(result) for key, result in results.items()}
    differing = Differing(shown.results)
    page = _static()

    def of(request: Request) -> StoredResult:
        key = request.path_params["key"]
        if key not in results:
            raise StoreError(f"there is no result {key!r}")
        return results[key]

    def static(request: Request) -> Response:
        name = request.path_params["name"] or "index.html"
        if name not in page:
            return PlainTextResponse("There is nothing here.\n", 404)
        content, kind = page[name]
        return Response(content, media_type=kind)

    def told(_: Request) -> Response:
        return JSONResponse(facts(shown))

    def check(_: Request) -> Response:
        same = shown.same_slide
        if not same.done():
            return JSONResponse({"same": None})
        trouble = same.exception()
        said = {"same": same.result()} if trouble is None else {"same": None, "error": str(trouble)}
        return JSONResponse(said)

    def picture(_: Request) -> Response:
        return Response(shown.picture, media_type="image/png")

    def tile(request: Request) -> Response:
        if shown.tiles is None:
            raise StoreError("no slide was given")
        place = request.path_params
        jpeg = shown.tiles.tile(place["level"], place["column"], place["row"])
        return Response(jpeg, media_type="image/jpeg")

    def column(request: Request) -> Response:
        parts = column_bytes(of(request), request.path_params["name"])
        return StreamingResponse(parts, media_type=_BINARY)

    def chunk(request: Request) -> Response:
        of(request)
        rings = outlines[request.path_params["key"]].chunk(request.path_params["number"])
        return Response(rings, media_type=_BINARY)

    def tissue(request: Request) -> Response:
        return Response(tissue_rings(of(request)), media_type=_BINARY)

    def row(request: Request) -> Response:
        return JSONResponse(row_of(of(request), request.path_params["number"]))

    def by_id(request: Request) -> Response:
        return JSONResponse({"row": row_with_id(of(request), request.path_params["id"])})

    def difference(request: Request) -> Response:
        of(request)
        return Response(differing.changes(request.path_params["key"]), media_type=_BINARY)

    def kinds(_: Request) -> Response:
        return JSONResponse(differing.kinds())

    routes = [
        Route("/facts", told),
        Route("/check", check),
        Route("/picture", picture),
        Route("/tiles/{level:int}/{column:int}_{row:int}.jpg", tile),
        Route("/difference", kinds),
        Route("/results/{key}/columns/{name}", column),
        Route("/results/{key}/outlines/{number:int}", chunk),
        Route("/results/{key}/tissue", tissue),
        Route("/results/{key}/rows/{number:int}", row),
        Route("/results/{key}/ids/{id:int}", by_id),
        Route("/results/{key}/difference", difference),
        Route("/{name:path}", static),
    ]
    return Guarded(Starlette(routes=routes, exception_handlers={WsiprocError: _refused}), token)


def _refused(_: Request, error: Exception) -> Response:
    """What went wrong on purpose, in its own words; a bug stays a bug."""
    missing = isinstance(error, StoreError)
    return PlainTextResponse(f"{error}\n", 404 if missing else 500)


def _static() -> dict[str, tuple[bytes, str]]:
    """Every file of the page with its type: a path that is not among them leads nowhere."""
    found: dict[str, tuple[bytes, str]] = {}

    def gather(folder: Traversable, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                gather(entry, f"{prefix}{entry.name}/")
                continue
            kind = _KINDS.get("." + entry.name.rpartition(".")[2])
            if kind is not None:
                found[prefix + entry.name] = entry.read_bytes(), kind

    gather(files("wsiproc.view") / "static", "")
    return found
