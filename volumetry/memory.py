"""Memory that was freed is kept for the next stage.

A scan goes through some hundred arrays of 10 to 100 MB. By default the C library gives each of them back to the
system when it is freed, and gets it back page by page, zeroed: about a tenth of a scan's CPU time went there.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 192 << 20


def keep_freed_memory() -> bool:
    """Tell the C library to keep freed blocks below 192 MiB; False where it cannot be told.

    Larger ones are the volumes of long scans: kept in pieces, they would cost more memory than time is saved.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:  # not glibc
        return False
    return bool(set_option(_M_MMAP_THRESHOLD, _KEPT_BYTES) and set_option(_M_TRIM_THRESHOLD, _KEPT_BYTES))
