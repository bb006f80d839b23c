"""Reading back what the explain stage wrote."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from ..attention import ScanAttention
from ..attention import read_attention as read_stream
from ..runner import DamagedFilesError

__all__ = ["ScanAttention", "read_attention"]


def read_attention(path: Path, content: str | None = None) -> ScanAttention:
    """Read an ``attention/<m>/<id>.npz``.

    Args:
        path: the file.
        content: hash that it must have, compared on the bytes that are read; None takes the file as it is.

    Raises:
        DamagedFilesError: if the file is gone or has another hash.
        DataError: if it is no attention file.
    """
    try:
        data = path.read_bytes()
    except OSError:
        raise DamagedFilesError([str(path)]) from None
    if content is not None and f"sha256:{hashlib.sha256(data).hexdigest()}" != content:
        raise DamagedFilesError([str(path)])
    stream = io.BytesIO(data)
    stream.name = str(path)
    return read_stream(stream)
