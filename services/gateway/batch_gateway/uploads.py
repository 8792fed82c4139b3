"""The routes of Uploads: files above the limit of /v1/files, in parts."""

from typing import Any

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from batch_common.config import Limits
from batch_gateway.documented import BYTES, ERRORS, EXPIRES_AFTER, INTEGER, TEXT, TEXTS, takes
from batch_gateway.errors import ApiError, too_large
from batch_gateway.expiry import parse_expiry
from batch_gateway.idempotency import Once
from batch_gateway.multipart_stream import read_form
from batch_gateway.objects import Upload, UploadPart
from batch_gateway.parameters import Body, text, wrong_type
from batch_gateway.purposes import check_batch_name, check_purpose, plain_name
from batch_gateway.upload_flow import UploadFlow
from batch_gateway.upload_store import Declared, UploadStore

_CREATE = takes(
    "application/json",
    {"bytes": INTEGER, "filename": TEXT, "mime_type": TEXT, "purpose": TEXT},
    expires_after=EXPIRES_AFTER,
)
_PART = takes("multipart/form-data", {"data": BYTES})
_COMPLETE = takes("application/json", {"part_ids": TEXTS}, md5=TEXT)


@post("/v1/uploads", status_code=200, responses=ERRORS, operation_class=_CREATE, tags=["Uploads"])
async def create_upload(
    request: Request[Any, Any, Any],
    tenant: NamedDependency[str],
    upload_store: NamedDependency[UploadStore],
    limits: NamedDependency[Limits],
    once: NamedDependency[Once],
) -> Response[Upload]:
    """Announces a file; its parts follow within an hour."""
    raw = await request.body()
    declared = parse_declared(raw, limits)
    once.body.json(raw)
    return await once.answer(lambda: upload_store.create(tenant, declared, once.keep))


@post(
    "/v1/uploads/{upload_id:str}/parts",
    status_code=200,
    responses=ERRORS,
    operation_class=_PART,
    tags=["Uploads"],
)
async def create_upload_part(
    request: Request[Any, Any, Any],
    upload_id: FromPath[str],
    tenant: NamedDependency[str],
    upload_flow: NamedDependency[UploadFlow],
    limits: NamedDependency[Limits],
    once: NamedDependency[Once],
) -> Response[UploadPart]:
    """Adds a part, streamed to the blob store; parts may come side by side."""
    return await once.answer(
        lambda: upload_flow.add_part(request, tenant, upload_id, once),
        unread=lambda: read_form(request, limits.max_part_bytes, once.body),
    )


@post(
    "/v1/uploads/{upload_id:str}/complete",
    status_code=200,
    responses=ERRORS,
    operation_class=_COMPLETE,
    tags=["Uploads"],
)
async def complete_upload(
    request: Request[Any, Any, Any],
    upload_id: FromPath[str],
    tenant: NamedDependency[str],
    upload_flow: NamedDependency[UploadFlow],
    once: NamedDependency[Once],
) -> Response[Upload]:
    """Makes the file of the parts, in the order given."""
    raw = await request.body()
    body = Body(raw)
    once.body.json(raw)
    part_ids = body.required("part_ids")
    if not isinstance(part_ids, list):
        raise wrong_type("part_ids", "an array", part_ids)
    names = [text(part_id, f"part_ids[{n}]") for n, part_id in enumerate(part_ids)]
    given = body.optional("md5")
    md5 = None if given is None else text(given, "md5")
    return await once.answer(lambda: upload_flow.complete(tenant, upload_id, names, md5, once))


@post("/v1/uploads/{upload_id:str}/cancel", status_code=200, responses=ERRORS, tags=["Uploads"])
async def cancel_upload(
    upload_id: FromPath[str], tenant: NamedDependency[str], upload_flow: NamedDependency[UploadFlow]
) -> Upload:
    """Gives an upload up; it takes no more parts."""
    return await upload_flow.cancel(tenant, upload_id)


def parse_declared(raw: bytes, limits: Limits) -> Declared:
    """Raises ApiError (400)."""
    body = Body(raw)
    size = body.integer("bytes")
    if size < 0:
        raise ApiError(400, f"Invalid 'bytes': {size} is negative.", param="bytes")
    if size > limits.max_upload_bytes:
        raise too_large()
    filename = plain_name(body.text("filename"))
    mime_type = body.text("mime_type")
    purpose = check_purpose(body.text("purpose"))
    check_batch_name(purpose, filename)
    return Declared(
        bytes=size,
        filename=filename,
        mime_type=mime_type,
        purpose=purpose,
        expires_after_s=parse_expiry(body.optional("expires_after"), "expires_after"),
    )


ROUTES = [create_upload, create_upload_part, complete_upload, cancel_upload]
