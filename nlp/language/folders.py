"""Where a language's files are: ``cues.yaml``, ``sections.yaml`` and ``words.yaml`` in a folder of their own."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from organcam.errors import ConfigError, did_you_mean

__all__ = ["ENGLISH", "known_languages", "language_folder"]

_LANGUAGES = Path(str(files("organcam.nlp") / "languages"))
ENGLISH = _LANGUAGES / "en"


def known_languages() -> tuple[str, ...]:
    """The languages that come with the package."""
    return tuple(sorted(folder.name for folder in _LANGUAGES.iterdir() if (folder / "cues.yaml").is_file()))


def language_folder(name: str, beside: Path | None = None) -> Path:
    """The folder of a language.

    Args:
        name: a language of the package (``en``), or a folder of one's own.
        beside: folder that a relative path counts from.

    Raises:
        ConfigError: if it is neither.
    """
    if name in known_languages():
        return _LANGUAGES / name
    folder = Path(name) if beside is None else beside / name
    if (folder / "cues.yaml").is_file():
        return folder
    hint = did_you_mean(name, known_languages())
    msg = f"unknown language {name!r} (no folder with cues.yaml, sections.yaml and words.yaml either); {hint}"
    raise ConfigError(msg)
