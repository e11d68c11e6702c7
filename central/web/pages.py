"""The web page as files: the built front end, with a content policy that allows nothing but this origin's files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fastapi.responses import FileResponse, PlainTextResponse
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.responses import Response
    from starlette.staticfiles import PathLike
    from starlette.types import Scope

DIST: Final = Path(__file__).parent / "static" / "dist"
"""Where `make web` puts what it builds from `front/`."""

HEADERS: Final = {
    # Trusted types: no text of the API can become HTML, not even by mistake. Pictures and video pass through blobs.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self';"
        " img-src 'self' blob:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_FOREVER = "public, max-age=31536000, immutable"
_ASK = "no-cache"
_NOT_BUILT = "The web page is not built. Run: make web\n"


def mount(app: FastAPI, dist: Path = DIST) -> None:
    """The console answers with the page at `/` and `/sites/<site>`, and with its files below `/static/`.

    Without a build it says how to make one, with status 503.
    """

    def page() -> Response:
        index = dist / "index.html"
        if not index.is_file():
            return PlainTextResponse(_NOT_BUILT, status_code=503)
        return FileResponse(index, headers=HEADERS | {"Cache-Control": _ASK})

    app.add_api_route("/", page, include_in_schema=False)
    app.add_api_route("/sites/{site}", page, include_in_schema=False)
    app.mount("/static", GZipMiddleware(_Files(directory=dist, check_dir=False)), name="static")


class _Files(StaticFiles):
    """Built files: those with a hash in their name never change, the others are asked for each time."""

    def file_response(
        self, full_path: PathLike, stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        hashed = Path(full_path).parent.name == "assets"
        response.headers.update(HEADERS | {"Cache-Control": _FOREVER if hashed else _ASK})
        return response
