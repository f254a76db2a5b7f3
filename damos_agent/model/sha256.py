"""SHA-256 without OpenSSL: `hashlib` maps all of libcrypto, 3.5 MiB resident, for one function."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Final, Protocol

_MODULES: Final = ("_sha2", "_sha256", "hashlib")
"""Python's own implementation since 3.12, before that, and where neither was built."""


class Hash(Protocol):
    """What is used of a hash object."""

    def update(self, data: bytes, /) -> None:
        """Take more."""
        ...

    def hexdigest(self) -> str:
        """Of everything so far."""
        ...


def _find() -> Callable[..., Hash]:
    for name in _MODULES:
        try:
            return importlib.import_module(name).sha256  # type: ignore[no-any-return]
        except (ImportError, AttributeError):
            continue
    raise ImportError("this Python has no SHA-256")


sha256: Final = _find()
"""As `hashlib.sha256`."""
