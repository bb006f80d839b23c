"""Tokens: the words of a text with their character offsets, and the one normal form that texts and term lists share."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

__all__ = ["Token", "normal_form", "same_length_lower", "term_words", "tokenise"]

# A hyphen inside a word separates two words ("ground-glass"); one between spaces is punctuation. T12, L1 stay whole.
_TOKEN = re.compile(r"\d+(?:[.,]\d+)?|[tlc]\d{1,2}(?![\w])|[^\W\d_]+(?:['’]s)?|(?<=\s)[-–—]+(?=\s)|[,.;:()\[\]/<>=?!&%+]")

_BRITISH = (
    ("oedema", "edema"),
    ("haem", "hem"),
    ("oesoph", "esoph"),
    ("tumour", "tumor"),
    ("calibre", "caliber"),
    ("centimetre", "centimeter"),
    ("millimetre", "millimeter"),
    ("fibre", "fiber"),
    ("grey", "gray"),
    ("anaes", "anes"),
    ("orthopaed", "orthoped"),
    ("ischaem", "ischem"),
    ("leukaem", "leukem"),
    ("caec", "cec"),
    ("foetal", "fetal"),
    ("colour", "color"),
    ("visualis", "visualiz"),
    ("localis", "localiz"),
    ("loculis", "loculiz"),
    ("dilatat", "dilat"),
)
_IRREGULAR = {
    "vertebrae": "vertebra",
    "bullae": "bulla",
    "pleurae": "pleura",
    "costae": "costa",
    "hila": "hilum",
    "hili": "hilum",
    "hilus": "hilum",
    "diverticula": "diverticulum",
    "septa": "septum",
    "lumina": "lumen",
    "bronchi": "bronchus",
    "bronchioli": "bronchiole",
    "thrombi": "thrombus",
    "emboli": "embolus",
    "calculi": "calculus",
    "apices": "apex",
    "cortices": "cortex",
    "indices": "index",
    "metastases": "metastasis",
    "atelectases": "atelectasis",
    "bronchiectases": "bronchiectasis",
    "stenoses": "stenosis",
    "diagnoses": "diagnosis",
    "prostheses": "prosthesis",
    "fibroses": "fibrosis",
    "scleroses": "sclerosis",
    "bases": "base",
    "foci": "focus",
    "nodi": "node",
    "bodies": "body",
    "corpora": "corpus",
    "foramina": "foramen",
    "sequelae": "sequela",
    "viscera": "viscus",
    "thoraces": "thorax",
    "pneumothoraces": "pneumothorax",
    "hydropneumothoraces": "hydropneumothorax",
    "hemithoraces": "hemithorax",
    "scapulae": "scapula",
    "clavicles": "clavicle",
    "fistulae": "fistula",
    "lingulae": "lingula",
    "axillae": "axilla",
    "lenses": "lens",
    "lives": "life",
    "leaves": "leaf",
    "calves": "calf",
}
_KEEP = frozenset("as is was has his its this thus us gas pus plus bias atlas always across various previous".split())
_KEEP_ENDINGS = ("ss", "us", "is", "ous")


class Token(NamedTuple):
    """A word: its normal form, its place in the text (``start <= i < end``) and whether it was a plural."""

    word: str
    start: int
    end: int
    plural: bool


@lru_cache(maxsize=1 << 16)
def normal_form(word: str) -> tuple[str, bool]:
    """The form under which a lower-case word is looked up (American spelling, singular), and whether it was plural.

    Example:
        >>> normal_form("oedemas"), normal_form("opacities"), normal_form("mass")
        (('edema', True), ('opacity', True), ('mass', False))
    """
    if not word.isascii():
        return word, False
    word = word.replace("'s", "")
    for british, american in _BRITISH:
        if british in word:
            word = word.replace(british, american)
    if word in _IRREGULAR:
        return _IRREGULAR[word], True
    if len(word) < 4 or not word.endswith("s") or word in _KEEP or word.endswith(_KEEP_ENDINGS):
        return word, False
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y", True
    if word.endswith(("sses", "xes", "ches", "shes", "uses")):
        return word[:-2], True
    return word[:-1], True


def same_length_lower(text: str) -> str:
    """Lower case without moving an offset (some capitals, as the Turkish dotted I, lower to two characters)."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(low if len(low := char.lower()) == 1 else low[0] for char in text)


def tokenise(text: str, start: int = 0, end: int | None = None) -> list[Token]:
    """Tokens of ``text[start:end]`` with offsets into ``text``.

    Args:
        text: already lower case (``same_length_lower``).
        start: first character.
        end: one past the last character; the whole text by default.
    """
    tokens = []
    for match in _TOKEN.finditer(text, start, len(text) if end is None else end):
        word, plural = normal_form(match.group())
        tokens.append(Token(word, match.start(), match.end(), plural))
    return tokens


def term_words(term: str) -> tuple[str, ...]:
    """A term of a vocabulary as the normal forms that a text would show for it.

    Example:
        >>> term_words("Ground-glass opacities")
        ('ground', 'glass', 'opacity')
    """
    return tuple(token.word for token in tokenise(same_length_lower(term)))
