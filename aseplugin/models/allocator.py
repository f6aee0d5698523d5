"""Keep freed memory in the process: page faults cost more than the arithmetic on small graphs."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> bool:
    """Ask glibc to reuse freed blocks of any size instead of returning them to the kernel.

    PyTorch frees and takes the same megabytes in every step. By default glibc maps blocks over
    128 kB afresh each time, and every page is zeroed by the kernel before it is used.

    Returns
    -------
    bool
        Whether the C library took the settings (it is not glibc otherwise; nothing changes).
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, (1 << 31) - 1),
                (_M_TOP_PAD, 64 << 20))  # fmt: skip
    return all(mallopt(option, value) == 1 for option, value in settings)
