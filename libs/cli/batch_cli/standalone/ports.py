"""Ports of this machine."""

import errno
import socket

from batch_common.errors import StartError


def check_free(host: str, port: int, option: str = "--port") -> int:
    """The port to listen on: `port`, or any free one for 0. Raises StartError, naming `option`.

    Looked at before anything starts, so that a port taken costs nothing.
    """
    try:
        return _bind(host, port)
    except OSError as error:
        raise StartError(_why(host, port, option, error)) from error


def free_port(preferred: int) -> int:
    """`preferred` on loopback where nobody has it, else any free one."""
    try:
        return _bind("127.0.0.1", preferred)
    except OSError:
        return _bind("127.0.0.1", 0)


def _bind(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As servers bind: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])


def _why(host: str, port: int, option: str, error: OSError) -> str:
    address = "--host" if option == "--port" else "metrics.host"
    any_free = " (0 takes any free one)" if option == "--port" else ""
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"port {port} on {host} is taken: stop what listens there, "
                f"or give another with {option}{any_free}"
            )
        case errno.EACCES:
            return f"port {port} needs privileges: give one above 1023 with {option}"
        case errno.EADDRNOTAVAIL:
            return f"{host} is no address of this machine: give another with {address}"
    reason = error.strerror or error
    return f"cannot listen on {host}:{port}: {reason}; check {address} and {option}"
