"""Ports that are to be listened on."""

from typing import Final

from batch_cli.doctor.finding import Finding, fail, ok
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
        return [ok(CHECK, f"vllm-batch up runs, on {gateway.host}:{gateway.port}")]
    wanted = [(gateway.host, gateway.port)]
    if metrics.port:
        wanted.append((metrics.host, metrics.port))
    return [_free(host, port) for host, port in wanted]


def _free(host: str, port: int) -> Finding:
    if not port:
        return ok(CHECK, f"any free one on {host}")
    try:
        check_free(host, port)
    except StartError as error:
        says, _, fix = str(error).partition(": ")
        return fail(CHECK, says, fix)
    return ok(CHECK, f"{port} on {host} is free")
