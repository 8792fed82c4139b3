"""HTTP as uvicorn speaks it, but for the answer to what is none: that has OpenAI's form, too."""

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from batch_common.ids import new_id
from batch_common.logs import get_log
from batch_gateway.errors import ApiError

log = get_log(__name__)

_MESSAGE: Final = (
    "The request is not valid HTTP/1.1. See that its headers hold no control characters, and that "
    "nothing on the way speaks another protocol."
)


class HttpProtocol(HttpToolsProtocol):
    """No application sees such a request, so ids and bodies are made here."""

    def send_400_response(self, msg: str) -> None:
        request_id = new_id("req_")
        log.info("request_unreadable", request_id=request_id, client=self.client, said=msg)
        body = ApiError(400, _MESSAGE).body()
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            "content-type: application/json\r\n"
            f"content-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()
