"""The routes of Files."""

from typing import Any, Literal
from urllib.parse import quote

from litestar import Request, Response, delete, get, post, route
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from batch_common.blobs import BlobStore
from batch_common.config import Limits
from batch_gateway.content import open_download
from batch_gateway.documented import BYTES, ERRORS, INTEGER, TEXT, takes
from batch_gateway.errors import ApiError, no_such
from batch_gateway.file_store import FileStore
from batch_gateway.file_upload import FileUpload
from batch_gateway.idempotency import Once
from batch_gateway.multipart_stream import read_form
from batch_gateway.objects import File, FileDeleted, FileList
from batch_gateway.paging import check_limit
from batch_gateway.purposes import check_download
from batch_gateway.ranges import Span, UnsatisfiableError, requested_span, unchanged

_FORM = takes(
    "multipart/form-data",
    {"file": BYTES, "purpose": TEXT},
    **{"expires_after[anchor]": TEXT, "expires_after[seconds]": INTEGER},
)


@post("/v1/files", status_code=200, responses=ERRORS, operation_class=_FORM, tags=["Files"])
async def create_file(
    request: Request[Any, Any, Any],
    tenant: NamedDependency[str],
    file_store: NamedDependency[FileStore],
    blobs: NamedDependency[BlobStore],
    limits: NamedDependency[Limits],
    once: NamedDependency[Once],
) -> Response[File]:
    """Uploads a file, streamed to the blob store."""
    upload = FileUpload(file_store, blobs, limits, tenant, once)
    return await once.answer(
        lambda: upload.receive(request),
        unread=lambda: read_form(request, limits.max_file_bytes, once.body),
    )


@get("/v1/files", responses=ERRORS, tags=["Files"])
async def list_files(
    tenant: NamedDependency[str],
    file_store: NamedDependency[FileStore],
    purpose: FromQuery[str | None] = None,
    limit: FromQuery[int] = 10_000,
    order: FromQuery[Literal["asc", "desc"]] = "desc",
    after: FromQuery[str | None] = None,
) -> FileList:
    """Lists files, the newest first unless `order` says otherwise."""
    check_limit(limit, 10_000)
    return await file_store.page(
        tenant, purpose, after=after, limit=limit, newest_first=order == "desc"
    )


@get("/v1/files/{file_id:str}", responses=ERRORS, tags=["Files"])
async def retrieve_file(
    file_id: FromPath[str], tenant: NamedDependency[str], file_store: NamedDependency[FileStore]
) -> File:
    return await _find(file_store, tenant, file_id)


@delete("/v1/files/{file_id:str}", status_code=200, responses=ERRORS, tags=["Files"])
async def delete_file(
    file_id: FromPath[str], tenant: NamedDependency[str], file_store: NamedDependency[FileStore]
) -> FileDeleted:
    """Hides a file at once; batches that were created with it go on."""
    if not await file_store.delete(tenant, file_id):
        raise no_such("File", file_id)
    return FileDeleted(id=file_id)


@route(
    "/v1/files/{file_id:str}/content",
    http_method=["GET", "HEAD"],
    status_code=200,
    responses=ERRORS,
    tags=["Files"],
)
async def download_file(
    request: Request[Any, Any, Any],
    file_id: FromPath[str],
    tenant: NamedDependency[str],
    file_store: NamedDependency[FileStore],
    blobs: NamedDependency[BlobStore],
) -> Response[Any]:
    """The bytes of a file; `Range` is honoured."""
    file = await _find(file_store, tenant, file_id)
    check_download(file.purpose)
    etag = f'"{file.id}"'
    if unchanged(request.headers, etag):
        return Response(content=None, status_code=304, headers={"etag": etag})
    span = _span(request, file, etag)
    headers = {**_headers(file, etag), "content-length": str(span.end - span.start)}
    if span.partial:
        headers["content-range"] = span.content_range
    parts = await file_store.parts(tenant, file_id) if request.method == "GET" else ()
    return Stream(
        await open_download(blobs, parts, span.start, span.end),
        status_code=206 if span.partial else 200,
        headers=headers,
        media_type="application/octet-stream",
    )


def _span(request: Request[Any, Any, Any], file: File, etag: str) -> Span:
    try:
        return requested_span(request.headers, file.bytes, etag)
    except UnsatisfiableError as error:
        raise ApiError(
            416,
            f"The requested range is outside of the file, which has {file.bytes} bytes.",
            headers={"content-range": f"bytes */{file.bytes}"},
        ) from error


def _headers(file: File, etag: str) -> dict[str, str]:
    plain = file.filename.encode("ascii", "replace").decode().replace("\\", "_").replace('"', "_")
    name = f'attachment; filename="{plain}"'
    if plain != file.filename:
        name += f"; filename*=UTF-8''{quote(file.filename, safe='')}"
    return {"etag": etag, "accept-ranges": "bytes", "content-disposition": name}


async def _find(file_store: FileStore, tenant: str, file_id: str) -> File:
    file = await file_store.find(tenant, file_id)
    if file is None:
        raise no_such("File", file_id)
    return file


ROUTES = [create_file, list_files, retrieve_file, delete_file, download_file]
