"""The address that a server listens on. It needs no uvicorn: a port in use is refused before anything is imported."""

from __future__ import annotations

import os
import socket

from pipeline.errors import UserError


def bind(host: str, port: int) -> socket.socket:
    """A socket with this address, which does not listen yet; port 0 is any free one.

    Raises:
        UserError: this machine has no such address, or something else listens there.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UserError(f"host: there is no address {host}; use 127.0.0.1, or 0.0.0.0 for other machines") from error
    family, kind, protocol, _, address = found[0]
    own = socket.socket(family, kind, protocol)
    try:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else a server that has ended keeps its port a while
        own.bind(address)
    except OSError as error:
        own.close()
        raise taken(host, port, error) from error
    return own


def taken(host: str, port: int, error: OSError) -> UserError:
    """The mistake that the operating system has refused the address with."""
    why = os.strerror(error.errno) if error.errno else str(error)
    return UserError(f"port: cannot listen on {url(host, port)}: {why}; choose another --port or --host")


def url(host: str, port: int) -> str:
    """The address as a client writes it."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
