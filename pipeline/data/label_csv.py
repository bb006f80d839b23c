"""Tables of labels as they are read: every form of them by the same rules, with errors that name ``data.labels``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from ..errors import ConfigError

__all__ = ["read_label_csv"]

UNREADABLE = (
    OSError,
    UnicodeDecodeError,
    pd.errors.ParserError,
    pd.errors.ParserWarning,
    pd.errors.EmptyDataError,
)


def read_label_csv(
    path: Path, narrow: Callable[[pd.DataFrame], pd.DataFrame] | None = None, **options: object
) -> pd.DataFrame:
    """A CSV with comma, semicolon or tab; no value is taken for "missing".

    Args:
        path: the file, UTF-8 with or without a byte order mark.
        narrow: of a table that is read piece by piece (``chunksize``): what each piece becomes before they are joined.
        options: of ``pandas.read_csv``.

    Raises:
        ConfigError: if it is missing, no text, empty, or a row is longer than the header.
    """
    try:
        with path.open(encoding="utf-8-sig") as stream:
            separator = max(",;\t", key=stream.readline().count)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row longer than the header
            found = pd.read_csv(  # type: ignore[call-overload]
                path, encoding="utf-8-sig", sep=separator, na_filter=False, index_col=False, **options
            )
            table: pd.DataFrame = found if narrow is None else pd.concat([narrow(rows) for rows in found])
    except FileNotFoundError:
        msg = f"data.labels: no such file: {path}"
        raise ConfigError(msg) from None
    except UNREADABLE as error:
        msg = f"data.labels: {path} is not a readable CSV: {str(error).strip().splitlines()[0]}"
        raise ConfigError(msg) from None
    return table
