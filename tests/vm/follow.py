# SPDX-License-Identifier: Apache-2.0
"""Copies a growing file, like tail -f."""

from pathlib import Path
from typing import BinaryIO


class Follower:
    """Copies what was added to `path` since the last call to `sink`."""

    def __init__(self, path: Path, sink: BinaryIO) -> None:
        self._path = path
        self._sink = sink
        self._offset = 0

    def copy(self) -> None:
        """The sink has everything the file holds now; a file not there yet holds nothing."""
        try:
            with self._path.open("rb") as source:
                source.seek(self._offset)
                added = source.read()
        except FileNotFoundError:
            return
        self._offset += len(added)
        if added:
            self._sink.write(added)
            self._sink.flush()
