"""The blob store, where it is not a folder of this machine."""

from typing import Final

from batch_cli.doctor.finding import Finding, fail, ok
from batch_cli.doctor.place import Place
from batch_common.blobs import open_blobs
from batch_common.errors import BatchServerError, BlobNotFoundError

CHECK: Final = "blobs"


async def look_at_blobs(place: Place) -> list[Finding]:
    """Reads what is not there. Raises ConfigError for a URL that is none."""
    url = place.config.blobs.url
    if not url or url.startswith("file:"):
        return []
    blobs = open_blobs(place.config.blobs, place.folder.root)
    try:
        await blobs.size("health/none")
    except BlobNotFoundError:
        return [ok(CHECK, f"{url.partition(':')[0]} store answers")]
    except BatchServerError as error:
        fix = "check blobs.url and blobs.options: bucket, region, endpoint and keys"
        return [fail(CHECK, f"the store does not answer: {error}", fix)]
    return [ok(CHECK, f"{url.partition(':')[0]} store answers")]
