"""Loading modules without the pauses of garbage collection."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Put off garbage collection; what is there at the end is never looked through again.

    Modules make hundreds of thousands of objects that stay. To go through all of them again and
    again takes a tenth of the time to load them, and a fork that does so copies their memory.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
