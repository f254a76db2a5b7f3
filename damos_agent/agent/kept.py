"""Reading back what an earlier run kept in /run."""

from __future__ import annotations

import json
from typing import TypeVar

from damos_agent.model.codec import decode
from damos_agent.model.errors import HostError

T = TypeVar("T")


def read_kept(kind: type[T], path: str, hint: str) -> T | None:
    """What is in that file; None without one. `HostError`, with that hint, if it is nonsense."""
    try:
        with open(path, "rb") as stream:
            return decode(kind, json.load(stream))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError(
            f"cannot be read: {error.strerror or error}", path=path, errno=error.errno
        ) from error
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise HostError(
            f"is not of this version of the agent: {error}", path=path, hint=hint
        ) from error
