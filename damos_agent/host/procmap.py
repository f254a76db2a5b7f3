"""PROCMAP_QUERY, an ioctl of /proc/PID/maps since 6.11 (include/uapi/linux/fs.h)."""

from __future__ import annotations

import fcntl
import struct
from typing import Final

from damos_agent.model.policy import AddressRange

_QUERY: Final = struct.Struct("=9Q4I2Q")
_REQUEST: Final = 0xC0686611
_START, _END = 3, 4


def mapping_at(file: int, address: int) -> AddressRange | None:
    """The mapping that holds `address`, by the open maps of a process; 1.4 µs.

    None where there is none, when the process has gone, and on kernels without this ioctl.
    """
    query = bytearray(_QUERY.pack(_QUERY.size, 0, address, *[0] * 12))
    try:
        fcntl.ioctl(file, _REQUEST, query, True)
    except OSError:
        return None
    words = _QUERY.unpack(query)
    return AddressRange(words[_START], words[_END])
