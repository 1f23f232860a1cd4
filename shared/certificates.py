"""The machine's certificates, read by those alone who look at them."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def read_to_verify() -> Iterator[None]:
    """In the block, a TLS context that verifies nobody reads no certificates. If it verified after all, all would fail.

    aiohttp makes two contexts when it is imported, and has both read them: 24 ms for the one that never looks.
    """
    read = ssl.SSLContext.set_default_verify_paths

    def read_if_verifying(context: ssl.SSLContext) -> None:
        if context.verify_mode != ssl.CERT_NONE:
            read(context)

    ssl.SSLContext.set_default_verify_paths = read_if_verifying  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        ssl.SSLContext.set_default_verify_paths = read  # type: ignore[method-assign]
