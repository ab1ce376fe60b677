"""The socket of the HTTP front."""

from __future__ import annotations

import socket

from streams.ownership import EngineError


def listen(host: str, port: int, section: str = "gateway") -> socket.socket:
    """A listening socket, so that a port in use is known before anything starts; `section` of the settings names it.

    Raises:
        EngineError: the address cannot be used.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise EngineError(f"{section}.host {host}, {section}.port {port}: {error.strerror}") from None


def require_port(host: str, port: int) -> None:
    """Find out whether the address can be used.

    Raises:
        EngineError: it cannot.
    """
    listen(host, port).close()
