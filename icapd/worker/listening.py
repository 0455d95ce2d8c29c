"""The sockets clients connect to: one of each address for each front, kept open across a front's death."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat

from icapd.config.address import Endpoint, parse_admin, parse_http, parse_listen
from icapd.config.schema import Settings
from icapd.errors import ConfigurationError, Problem
from icapd.worker.activation import Inherited, address_of, share_out

_BACKLOG = 4096


HttpShare = list[tuple[socket.socket, bool]]
"""One front's sockets for HTTP, each with whether TLS is spoken there."""


class Listeners:
    """`shares`, the sockets of each front; `http`, those for HTTP and whether TLS is spoken there; the admin's.

    Closed by the supervisor when the server stops.
    """

    def __init__(
        self, shares: list[list[socket.socket]], http: list[HttpShare], admin: socket.socket, own_paths: set[str]
    ) -> None:
        self.shares = shares
        self.http = http
        self.admin = admin
        self._own_paths = own_paths

    @property
    def addresses(self) -> list[str]:
        """Where they listen, as the configuration would write it."""
        return list(dict.fromkeys(address_of(listener) for own in self.shares for listener in own))

    def close(self) -> None:
        """Nobody can connect any more, unless a service manager keeps its own copies open."""
        _close([*self.shares, *_sockets(self.http)], self._own_paths)


def open_listeners(settings: Settings, fronts: int, inherited: Inherited) -> Listeners:
    """For each front its own socket of each address, and the admin's. The kernel spreads clients over the fronts.

    What a service manager has opened already is not opened again.
    Raises: ConfigurationError with every address that cannot be had.
    """
    shares = share_out(inherited.icap, fronts)
    own_paths: set[str] = set()
    problems: list[Problem] = []
    for index, text in enumerate([] if inherited.icap else settings.server.listen):
        endpoint = parse_listen(text)
        try:
            for own, listener in zip(shares, _listen(endpoint, fronts), strict=True):
                own.append(listener)
        except OSError as error:
            problems.append(Problem(f"server.listen[{index}]", f"{text}: {error.strerror or error}"))
        else:
            if endpoint.is_unix:
                own_paths.add(endpoint.path)
    http: list[HttpShare] = [[] for _ in range(fronts)]
    for index, text in enumerate(settings.http.listen):
        endpoint, is_tls = parse_http(text)
        try:
            for share, listener in zip(http, _listen(endpoint, fronts), strict=True):
                share.append((listener, is_tls))
        except OSError as error:
            problems.append(Problem(f"http.listen[{index}]", f"{text}: {error.strerror or error}"))
    admin = inherited.admin
    try:
        if admin is None:
            [admin] = _listen(parse_admin(settings.server.admin), 1)
    except OSError as error:
        problems.append(Problem("server.admin", f"{settings.server.admin}: {error.strerror or error}"))
    if admin is None or problems:
        _close([*shares, *_sockets(http)], own_paths)
        raise ConfigurationError(problems)
    return Listeners(shares, http, admin, own_paths)


def _sockets(http: list[HttpShare]) -> list[list[socket.socket]]:
    return [[listener for listener, _ in share] for share in http]


def _close(shares: list[list[socket.socket]], own_paths: set[str]) -> None:
    """Files of Unix sockets go first: once we are deaf, they may be another server's."""
    for path in own_paths:
        with contextlib.suppress(OSError):
            os.unlink(path)
    for own in shares:
        for listener in own:
            listener.close()


def _listen(endpoint: Endpoint, fronts: int) -> list[socket.socket]:
    """One listening socket for each front. Raises: OSError."""
    if endpoint.is_unix:
        listener = _bind_unix(endpoint.path)
        listeners = [listener, *(listener.dup() for _ in range(fronts - 1))]
    elif fronts == 1:
        listeners = [_bind(endpoint)]
    else:
        # SO_REUSEPORT would let in a second server without a word; this bind fails where one listens.
        with _bind(endpoint) as probe:
            endpoint = endpoint._replace(port=probe.getsockname()[1])
        listeners = [_bind(endpoint, is_shared=True) for _ in range(fronts)]
    for listener in listeners:
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    return listeners


def _bind(endpoint: Endpoint, *, is_shared: bool = False) -> socket.socket:
    """Raises: OSError."""
    family, _, _, _, address = socket.getaddrinfo(
        endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if is_shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _bind_unix(path: str) -> socket.socket:
    """A stale socket of a server that is gone is replaced; a living server's is not, nor any other file.

    Raises: OSError.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "a file that is no socket is there")
        if _is_answered(path):
            raise OSError(errno.EADDRINUSE, "another server listens there")
        os.unlink(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(path)
    except OSError:
        bound.close()
        raise
    return bound


def _is_answered(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a living server with a full backlog would keep us waiting
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            return True
    return True
