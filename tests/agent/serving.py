"""A main loop in miniature, in a thread, for tests of what is served on sockets."""

import selectors
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from damos_agent.agent.sockets import Answer, Limits, Server

ORDINARY = Limits()


class Loop:
    """Runs one server until stopped."""

    def __init__(self, listener: socket.socket, answer: Answer, limits: Limits) -> None:
        self._selector = selectors.DefaultSelector()
        self._server = Server(self._selector, listener, answer, limits=limits)
        self._stop = threading.Event()

    def run(self) -> None:
        while not self._stop.is_set():
            for key, mask in self._selector.select(0.01):
                key.data(mask)
            self._server.expire()
        self._server.close()
        self._selector.close()

    def stop(self) -> None:
        self._stop.set()

    def open_connections(self) -> int:
        return len(self._selector.get_map()) - 1


@contextmanager
def serving(listener: socket.socket, answer: Answer, limits: Limits = ORDINARY) -> Iterator[Loop]:
    """Serve in the background; what goes wrong there is raised at the end."""
    loop = Loop(listener, answer, limits)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(loop.run)
        try:
            yield loop
        finally:
            loop.stop()
    ended.result()


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other end closes."""
    connection.settimeout(10)
    chunks = []
    while chunk := connection.recv(1 << 16):
        chunks.append(chunk)
    return b"".join(chunks)
