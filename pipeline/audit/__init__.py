"""Does a model use the organ or a shortcut: lesions, confounders and changes of acquisition put into a user's scans."""

from .insertion import Insertion, insert
from .kinds import KINDS, Kind, Wish, parse_wish
from .transform import InsertLesion, InsertLesionD, InsertLesiond, InsertLesionDict

__all__ = [
    "KINDS",
    "InsertLesion",
    "InsertLesionD",
    "InsertLesionDict",
    "InsertLesiond",
    "Insertion",
    "Kind",
    "Wish",
    "insert",
    "parse_wish",
]
