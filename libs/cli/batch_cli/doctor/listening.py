"""Ports that are to be listened on."""

from typing import Final

from batch_cli.doctor.finding import Finding, fail, ok, warn
from batch_cli.doctor.place import Place
from batch_cli.standalone.ports import check_free
from batch_common.errors import StartError

CHECK: Final = "port"


def look_at_ports(place: Place) -> list[Finding]:
    """Of `up`, before it runs; NATS takes another one when its port is taken."""
    if not place.standalone:
        return []
    gateway, metrics = place.config.gateway, place.config.metrics
    if place.running:
        return [_taken(place, f"vllm-batch up runs, on {gateway.host}:{gateway.port}")]
    wanted = [(gateway.host, gateway.port)]
    if metrics.port:
        wanted.append((metrics.host, metrics.port))
    return [_free(host, port) for host, port in wanted]


def _taken(place: Place, says: str) -> Finding:
    if not place.unseen:
        return ok(CHECK, says)
    fix = "end it first, or name another --data-dir"
    return warn(CHECK, f"{says}: {' and '.join(place.unseen)} not looked at", fix)


def _free(host: str, port: int) -> Finding:
    if not port:
        return ok(CHECK, f"any free one on {host}")
    try:
        check_free(host, port)
    except StartError as error:
        says, _, fix = str(error).partition(": ")
        return fail(CHECK, says, fix)
    return ok(CHECK, f"{port} on {host} is free")
