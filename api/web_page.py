"""The files of the web page, with the headers under which a browser runs nothing else."""

import base64
import hashlib
import re
from pathlib import Path

from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import Scope

FOLDER = Path(__file__).parent / "web"
FILES = frozenset(
    {"/", *(f"/{each.relative_to(FOLDER)}" for each in FOLDER.rglob("*") if each.is_file())}
)
"""Paths of the page; they hold no data, so that anybody may read them."""
_INLINE_SCRIPT = re.compile(r"<script type=\"importmap\">(.*?)</script>", re.DOTALL)


class WebPage(StaticFiles):
    """The files of the page, at the root of the service."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER, html=True)
        self._headers = {
            "Content-Security-Policy": _policy(),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",  # modules of two versions must not mix after an upgrade
        }

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(self._headers)
        return response


def _policy() -> str:
    """Return the content security policy: files of this service, and the page's import map."""
    index = (FOLDER / "index.html").read_text(encoding="utf-8")
    found = _INLINE_SCRIPT.search(index)
    assert found is not None  # it maps the names of the libraries to their files
    digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self'; "
        "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
