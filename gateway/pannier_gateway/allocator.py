"""How the C library hands out memory for bodies in flight.

By default every block above 128 KiB is mapped anew and zeroed by the kernel, page by page, and
every thread keeps a heap of its own: streamed uploads spend a fifth of their time on page faults.
"""

import ctypes
from contextlib import suppress

MIB = 1024 * 1024
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of malloc.h in the GNU C library


def keep_buffers() -> None:
    """Let freed buffers of up to a megabyte be used again; other C libraries are left alone."""
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, MIB)
        mallopt(M_TRIM_THRESHOLD, 4 * MIB)
