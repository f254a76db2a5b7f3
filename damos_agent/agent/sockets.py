"""Answering on sockets from the main loop: one request, one answer, never waiting for a client.

Everything registered with the selector carries a callable taking the event mask, so the loop is

    for key, mask in selector.select(timeout):
        key.data(mask)

A client gets `Limits.request_s` to ask and `Limits.answer_s` to take its answer; at most
`Limits.clients` are served at a time, and the oldest gives way to the newest.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from damos_agent.agent.listeners import BACKLOG


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may take: seconds, bytes, and connections at a time."""

    request_s: float = 1.0
    answer_s: float = 5.0
    request_bytes: int = 8192
    clients: int = 16


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end (SO_PEERCRED); -1 where the socket cannot tell."""

    pid: int = -1
    uid: int = -1
    gid: int = -1


class Answer(Protocol):
    """Turns what a client sent into what it gets."""

    def __call__(self, request: bytes, peer: Peer, /, *, complete: bool) -> bytes | None:
        """The answer to `request`, or None to wait for more of it; `complete`: no more comes."""
        ...


@dataclass(slots=True, eq=False)
class _Client:
    connection: socket.socket
    peer: Peer
    deadline: float
    received: bytes = b""
    pending: memoryview | None = None


class Server:
    """Serves one listening socket from `selector`; owns and closes the listener.

    `path`: of a Unix socket that we made, which goes with it.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        listener: socket.socket,
        answer: Answer,
        *,
        path: str = "",
        limits: Limits = Limits(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._selector = selector
        self._listener = listener
        self._answer = answer
        self._path = path
        self._limits = limits
        self._clock = clock
        self._clients: list[_Client] = []
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, self._accept)

    @property
    def deadline(self) -> float | None:
        """When `expire` has something to do, on the clock given; None: no client waits."""
        return min((client.deadline for client in self._clients), default=None)

    def expire(self) -> None:
        """Answer clients that asked nothing in time; drop those that don't take their answer."""
        now = self._clock()
        for client in [client for client in self._clients if client.deadline <= now]:
            if client.pending is None:
                self._respond(client, complete=True)
            else:
                self._drop(client)

    def close(self) -> None:
        """Drop every client and stop listening."""
        for client in list(self._clients):
            self._drop(client)
        self._selector.unregister(self._listener)
        self._listener.close()
        if self._path:
            with suppress(OSError):
                os.unlink(self._path)

    def _accept(self, _mask: int) -> None:
        for _ in range(BACKLOG):
            try:
                connection, _address = self._listener.accept()
            except OSError:  # none left, or it has gone again, or we are out of descriptors
                return
            connection.setblocking(False)
            if len(self._clients) >= self._limits.clients:
                self._drop(self._clients[0])
            deadline = self._clock() + self._limits.request_s
            client = _Client(connection, peer_of(connection), deadline)
            self._clients.append(client)
            self._selector.register(
                connection, selectors.EVENT_READ, lambda _mask, client=client: self._receive(client)
            )

    def _receive(self, client: _Client) -> None:
        room = self._limits.request_bytes - len(client.received)
        try:
            chunk = client.connection.recv(room)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        client.received += chunk
        self._respond(client, complete=len(chunk) in (0, room))

    def _respond(self, client: _Client, *, complete: bool) -> None:
        answer = self._answer(client.received, client.peer, complete=complete)
        if answer is None:
            if complete:
                self._drop(client)
            return
        client.pending = memoryview(answer)
        client.deadline = self._clock() + self._limits.answer_s
        self._selector.modify(
            client.connection, selectors.EVENT_WRITE, lambda _mask: self._send(client)
        )
        self._send(client)

    def _send(self, client: _Client) -> None:
        pending = client.pending or memoryview(b"")
        try:
            sent = client.connection.send(pending)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        client.pending = pending[sent:]
        if not client.pending:
            self._finish(client)

    def _finish(self, client: _Client) -> None:
        # Unread input would make close() reset the connection and the client lose its answer.
        with suppress(OSError):
            client.connection.shutdown(socket.SHUT_WR)
            client.connection.recv(self._limits.request_bytes)
        self._drop(client)

    def _drop(self, client: _Client) -> None:
        if client not in self._clients:  # dropped earlier in this very round of the selector
            return
        self._clients.remove(client)
        self._selector.unregister(client.connection)
        client.connection.close()


def peer_of(connection: socket.socket) -> Peer:
    """The process at the other end of a unix socket as it was when it connected."""
    if connection.family != socket.AF_UNIX:
        return Peer()
    layout = struct.Struct("3i")
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size)
    return Peer(*layout.unpack(raw))
