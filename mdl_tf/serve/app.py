"""The routes of a server: the page at `/`, JSON at `/search`, `/healthz` and `/image/ID`."""

import functools
import hmac
import json
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

import mdl_tf
from mdl_tf.images import file as image_file
from mdl_tf.reading import parse_json
from mdl_tf.serve import answers
from mdl_tf.serve.guard import Guard
from mdl_tf.serve.limits import Limits
from mdl_tf.serve.page import SHOWN, write_page
from mdl_tf.serve.refusal import Refusal, wants_page
from mdl_tf.serve.service import SIDE
from mdl_tf.serve.upload import open_picture, read_body, read_form
from mdl_tf.serve.work import Work
from mdl_tf.words import count

_STATIC = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_FRESH = {"Cache-Control": "no-cache"}
_K = 10  # of `/search`
# For an image whose file is gone.
_GONE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8" '
    'fill="#8884"/></svg>'
)


class Asked(NamedTuple):
    """What a request asks for."""

    picture: bytes | None
    id: str | None
    vector: list | None
    k: int
    where: dict | None
    threshold: float | None
    label: str | None  # of the page, which is in `where` too


def make_app(service, limits=None, host="127.0.0.1", allowed=(), token=None):
    """A server of an index, as an ASGI application.

    Args:
        service: a `Service`.
        limits: a `Limits`. Defaults to `None`: those of `Limits()`.
        host: the address that is listened at. Defaults to `"127.0.0.1"`.
        allowed: names in the header `Host` that are answered, beside those of `host`. Defaults to
            none.
        token: what `mdl-tf search` on this machine shows, to ask for files by their paths. Defaults
            to `None`: nobody may.

    Returns:
        An ASGI application, its `work` a `Work`.
    """
    from fastapi import FastAPI, Request
    from fastapi.responses import HTMLResponse, JSONResponse, Response
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    limits = limits or Limits()
    work = Work(limits)
    # The pages of FastAPI's documentation would load scripts from elsewhere.
    app = FastAPI(
        title="mdl_tf", version=mdl_tf.__version__, docs_url=None, redoc_url=None, openapi_url=None
    )

    blank = {
        "name": service.name,
        "about": "",
        "labels": (),
        "label": None,
        "k": SHOWN[0],
        "takes_pictures": service.takes_pictures,
        "most": limits.upload_bytes,
        "answer": None,
        "pixels": None,
        "examples": (),
        "message": None,
    }

    def draw_page(asked, answer=None, pixels=None):
        labels, images = service.contents()
        about = count(images, "image" if service.takes_pictures else "vector")
        return write_page(
            {
                **blank,
                "about": about + (f", {count(len(labels), 'label')}" if labels else ""),
                "labels": labels,
                "label": asked.label,
                "k": asked.k,
                "answer": answer,
                "pixels": None if pixels is None else image_file.shrink(pixels, SIDE),
                "examples": () if answer else service.examples(SHOWN[0], asked.label),
            }
        )

    def refuse(refusal, page):
        if not page:
            content = {"error": refusal.message, "status": refusal.status}
            return JSONResponse(content, refusal.status, refusal.headers)
        # Without a look into the index, which may be gone.
        text = write_page({**blank, "message": refusal.message})
        return HTMLResponse(text, refusal.status, refusal.headers)

    def answering(route):
        """A route whose refusals are answered, for people or for programs."""

        @functools.wraps(route)
        async def answer(request: Request):
            try:
                return await route(request)
            except Refusal as error:
                refusal = error
            except ValueError as error:
                refusal = Refusal(400, str(error))
            except ClientDisconnect:
                return Response(status_code=400)
            except Exception:
                traceback.print_exc(file=sys.stderr)
                refusal = Refusal(500, "The server has failed; its window says where.")
            return refuse(refusal, wants_page(request.headers.get("accept", "")))

        return answer

    @app.api_route("/", methods=["GET", "HEAD"])
    @answering
    async def show(request: Request):
        asked = read_query(request, SHOWN[0])
        if asked.id:
            answer = await work.search(search, asked)
            text = await work.shrink(draw_page, asked, *answer)
        else:
            text = await work.shrink(draw_page, asked)
        return HTMLResponse(text, headers=_FRESH)

    @app.post("/")
    @answering
    async def search_for_page(request: Request):
        with work.admitted():
            asked = await read_request(request, SHOWN[0])
            if asked.picture is None and asked.id is None:
                text = await work.shrink(draw_page, asked)
            else:
                answer = await work.search(search, asked)
                text = await work.shrink(draw_page, asked, *answer)
        return HTMLResponse(text, headers=_FRESH)

    @app.post("/search")
    @answering
    async def search_for_programs(request: Request):
        with work.admitted():
            asked = await read_request(request, _K)
            if asked.picture is None and asked.id is None and asked.vector is None:
                raise Refusal(400, "A picture must be sent, or an `id` or a `vector` as JSON.")
            answer, _ = await work.search(search, asked)
        return JSONResponse(answers.to_json(answer, asked.k, asked.where), headers=_FRESH)

    @app.post("/command/search")
    @answering
    async def search_for_command(request: Request):
        shown = request.headers.get("authorization", "").encode()
        if token is None or not hmac.compare_digest(shown, f"Bearer {token}".encode()):
            raise Refusal(404, "There is nothing here.")
        with work.admitted():
            asked = json.loads(await read_body(request, limits))
            try:
                hits = await work.search(lambda: service.search_files(**asked))
            except ValueError as error:
                return JSONResponse({"error": str(error)}, 422)
        return JSONResponse({"hits": [[hit._asdict() for hit in row] for row in hits]})

    @app.api_route("/healthz", methods=["GET", "HEAD"])
    @answering
    async def tell_health(request: Request):
        images = await work.shrink(lambda: len(service.index))
        return JSONResponse(
            {
                "status": "ok",
                "images": images,
                "takes_pictures": service.takes_pictures,
                "instance": token and instance_of(token),
                "version": mdl_tf.__version__,
            }
        )

    @app.get("/image/{key}")
    @answering
    async def show_image(request: Request):
        content = await work.shrink(service.picture, request.path_params["key"])
        if content is None:
            # Browsers show a picture whatever the status.
            return Response(_GONE, 404, media_type="image/svg+xml")
        headers = {"Cache-Control": "private, max-age=600"}
        return Response(content, media_type="image/jpeg", headers=headers)

    @app.get("/static/{name}")
    @answering
    async def show_static(request: Request):
        name = request.path_params["name"]
        if name not in _STATIC:
            raise Refusal(404, "There is nothing here.")
        content, tag = _read_static(name)
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=_STATIC[name], headers=headers)

    @app.exception_handler(HTTPException)
    async def refuse_route(request, error):
        told = {404: "There is nothing here.", 405: "This cannot be done here."}
        refusal = Refusal(
            error.status_code, told.get(error.status_code, str(error.detail)), error.headers
        )
        return refuse(refusal, wants_page(request.headers.get("accept", "")))

    def read_query(request, k):
        return _read_asked(dict(request.query_params), {}, k, limits)

    async def read_request(request, k):
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        given, body = dict(request.query_params), await read_body(request, limits)
        if kind == "multipart/form-data":
            form = read_form(request.headers["content-type"], body)
            return _read_asked(given | form.fields, form.files, k, limits)
        if kind == "application/json":
            try:
                fields = parse_json(body.decode())
            except ValueError as error:
                raise Refusal(400, f"The JSON cannot be read: {error}") from error
            if not isinstance(fields, dict):
                raise Refusal(400, 'The JSON must be an object, such as {"id": ...}.')
            return _read_asked(given | fields, {}, k, limits)
        return _read_asked(given, {"picture": body} if body else {}, k, limits)

    def search(asked):
        """An `Answer`, and the picture that was sent."""
        options = asked.k, asked.where, asked.threshold
        if asked.picture is not None:
            if not service.takes_pictures:
                raise Refusal(415, "This index has no model for pictures; it takes vectors.")
            pixels = open_picture(asked.picture, limits)
            return service.search_pixels(pixels, *options), pixels
        if asked.vector is not None:
            return service.search_vector(asked.vector, *options), None
        return service.search_entry(str(asked.id), *options), None

    guarded = Guard(app, refuse, host, allowed)
    guarded.work = work
    return guarded


def instance_of(token):
    """What tells a server to somebody who knows its token, and nobody else the token."""
    return image_file.digest(token.encode())


@functools.cache
def _read_static(name):
    content = (Path(__file__).parent / "static" / name).read_bytes()
    return content, f'"{image_file.digest(content)}"'


def _read_asked(fields, files, k, limits):
    """What a request asks for, an `Asked`, of the fields and files in it."""
    k = answers.read_number("k", fields.get("k", k), int)
    if not 1 <= k <= limits.neighbors:
        raise Refusal(400, f"`k` must be from 1 to {limits.neighbors:,}. Received: k={k}")
    where, label = fields.get("where"), fields.get("label") or None
    if isinstance(where, str):
        try:
            where = parse_json(where)
        except ValueError as error:
            raise Refusal(400, f"`where` must be JSON. Received: {error}") from error
    if label is not None:
        where = {**(where or {}), "label": label}
    threshold = fields.get("threshold")
    return Asked(
        picture=files.get("picture", files.get("image")),
        id=fields.get("id") or None,
        vector=fields.get("vector"),
        k=k,
        where=where or None,
        threshold=None if threshold is None else answers.read_number("threshold", threshold, float),
        label=label if isinstance(label, str) else None,
    )
