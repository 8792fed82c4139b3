"""Ports of this machine."""

import errno
import socket

from batch_common.errors import StartError


def check_free(host: str, port: int) -> int:
    """The port to listen on: `port`, or any free one for 0. Raises StartError.

    Looked at before anything starts, so that a port taken costs nothing.
    """
    try:
        return _bind(host, port)
    except OSError as error:
        raise StartError(_why(host, port, error)) from error


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


def _why(host: str, port: int, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"port {port} on {host} is taken: stop what listens there, "
                "or give another with --port (0 takes any free one)"
            )
        case errno.EACCES:
            return f"port {port} needs privileges: give one above 1023 with --port"
        case errno.EADDRNOTAVAIL:
            return f"{host} is no address of this machine: give another with --host"
    return f"cannot listen on {host}:{port}: {error.strerror or error}; check --host and --port"
