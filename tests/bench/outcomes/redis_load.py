# SPDX-License-Identifier: Apache-2.0
"""A redis-server and its client: `python -m tests.bench.outcomes.redis_load TREE SECONDS GROUP`.

Only the server is in the control group. Of its keys a fifth is ever asked for, the first ones most.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.outcomes import protocol

KEYS, ASKED, VALUE_BYTES = 60_000, 12_000, 4088
"""Values fill an allocation of 4 KiB with redis' own few bytes."""
_BATCH, _ASKED_BATCH, _STEP_S = 100, 40, 0.025
_TEXT = b"0123456789abcdef" * 128
_WAIT_S = 120.0


def server(tree: Path, where: str) -> subprocess.Popen[bytes]:
    """Keeps nothing on disk."""
    libraries = next(tree.glob("usr/lib/*-linux-gnu"))
    return subprocess.Popen(
        [
            *(str(tree / "usr/bin/redis-server"), "--port", "0", "--unixsocket", where),
            *("--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", "/tmp"),
        ],
        env={**os.environ, "LD_LIBRARY_PATH": str(libraries)},
        stdout=subprocess.DEVNULL,
    )


def connect(where: str) -> socket.socket:
    deadline = time.monotonic() + _WAIT_S
    while True:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(where)
        except OSError:
            client.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return client


def command(*words: bytes) -> bytes:
    """As the server reads it."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def key(number: int) -> bytes:
    return b"key:%07d" % number


def skewed(chance: float) -> int:
    """A key by a number from 0 to 1: half of all requests go to the first eighth of those asked."""
    return int(ASKED * chance**3)


def _load(client: socket.socket) -> None:
    noise = os.urandom(1 << 20)
    for first in range(0, KEYS, _BATCH):
        batch = []
        for number in range(first, first + _BATCH):
            at = number * 997 % (len(noise) - VALUE_BYTES)
            value = _TEXT + noise[at : at + VALUE_BYTES - len(_TEXT)]
            batch.append(command(b"SET", key(number), value))
        client.sendall(b"".join(batch))
        _receive(client, len(b"+OK\r\n") * _BATCH)


def _receive(client: socket.socket, size: int) -> None:
    while size > 0:
        got = client.recv(min(size, 1 << 20))
        if not got:
            raise RuntimeError("redis-server has hung up")
        size -= len(got)


def main() -> None:
    tree, seconds, group = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    reply = len(b"$%d\r\n" % VALUE_BYTES) + VALUE_BYTES + 2
    with tempfile.TemporaryDirectory() as directory:
        where = f"{directory}/redis.sock"
        process = server(tree, where)
        try:
            protocol.enter(group, process.pid)
            client = connect(where)
            _load(client)
            chances = random.Random(1)

            def step(_number: int) -> None:
                asked = [key(skewed(chances.random())) for _ in range(_ASKED_BATCH)]
                client.sendall(b"".join(command(b"GET", one) for one in asked))
                _receive(client, reply * _ASKED_BATCH)

            step(0)
            protocol.ready(process.pid)
            took = protocol.run(step, round(seconds / _STEP_S), _STEP_S)
            protocol.done(took, [], (KEYS - ASKED) * (VALUE_BYTES + 8))
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
