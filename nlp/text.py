"""Tokens: the words of a text with their character offsets, and the one normal form that texts and term lists share."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["Tokens", "normal_form", "same_length_lower", "term_words"]

# A hyphen inside a word separates two words ("ground-glass"); one between spaces is punctuation. T12, L1 stay whole.
# Latin letters come first as a plain range, which is twice as fast as the class of all letters at the end.
_TOKEN = re.compile(
    r"[tlcs][0-9]{1,2}(?!\w)|[a-zß-ɏ]+(?:['\u2019]s\b)?|[0-9]+(?:[.,][0-9]+)?|[,.;:()\[\]/<>=?!&%+\u00d7*]"
    r"|(?<=\s)[-\u2013\u2014]+(?=\s)|[^\W\d_]+"
)

_LONE_DASH = re.compile(r"[-\u2013\u2014]+$").match  # at either end of a text it stands for nothing

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
    ("isation", "ization"),
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
    "prostheses": "prosthesis",
    "fibroses": "fibrosis",
    "scleroses": "sclerosis",
    "bases": "base",
    "foci": "focus",
    "bodies": "body",
    "sulci": "sulcus",
    "corpora": "corpus",
    "foramina": "foramen",
    "sequelae": "sequela",
    "thoraces": "thorax",
    "pneumothoraces": "pneumothorax",
    "hydropneumothoraces": "hydropneumothorax",
    "hemithoraces": "hemithorax",
    "scapulae": "scapula",
    "clavicles": "clavicle",
    "fistulae": "fistula",
    "lingulae": "lingula",
    "axillae": "axilla",
    "leaves": "leaf",
}
_KEEP = frozenset(
    [
        "as",
        "is",
        "was",
        "has",
        "his",
        "its",
        "this",
        "thus",
        "us",
        "gas",
        "pus",
        "plus",
        "bias",
        "atlas",
        "always",
        "across",
        "various",
        "previous",
    ]
)
_KEEP_ENDINGS = ("ss", "us", "is", "ous")


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
    if word.endswith(("ised", "ising")) and len(word) > 6:
        word = f"{word[: word.rindex('is')]}iz{word[word.rindex('is') + 2 :]}"
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


class _Pieces(dict[str, tuple[str, ...]]):
    """The tokens of each run of characters between two spaces met so far ("effusion," has two)."""

    def __missing__(self, piece: str) -> tuple[str, ...]:
        found = tuple(_TOKEN.findall(f" {piece} "))
        return _remember(self, piece, found)


class _Forms(dict[str, tuple[str, ...]]):
    """The normal forms of the same; looking up words met before is what makes tokenising fast."""

    def __missing__(self, piece: str) -> tuple[str, ...]:
        return _remember(self, piece, tuple([normal_form(word)[0] for word in _PIECES[piece]]))


def _remember(known: dict[str, tuple[str, ...]], piece: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """The words, kept for the next time; what is too long to be a word is not kept."""
    if len(known) >= _KNOWN_WORDS:
        known.clear()
    if len(piece) <= _LONGEST_WORD:
        known[piece] = words
    return words


_KNOWN_WORDS = 20_000
_LONGEST_WORD = 60
_PIECES = _Pieces()
_FORMS = _Forms()


@lru_cache(maxsize=_KNOWN_WORDS)
def _is_plural(word: str) -> bool:
    return normal_form(word)[1]


class Tokens:
    """The words of a sentence; all but the normal forms is worked out only for sentences that hold something.

    Attributes:
        words: normal forms in order.
    """

    __slots__ = ("_pieces", "_raw", "_spans", "_text", "words")

    def __init__(self, text: str) -> None:
        self._text = text
        pieces = text.split()
        while pieces and _LONE_DASH(pieces[0]):
            del pieces[0]
        while pieces and _LONE_DASH(pieces[-1]):
            del pieces[-1]
        self._pieces = pieces
        self._raw: list[str] = []
        self._spans: list[tuple[int, int]] = []
        self.words = [form for piece in pieces for form in _FORMS[piece]]

    @property
    def raw(self) -> list[str]:
        """The words as they stand."""
        if not self._raw:
            self._raw = [word for piece in self._pieces for word in _PIECES[piece]]
        return self._raw

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Characters of each word."""
        if not self._spans:
            # what lies between two tokens never holds a token, so the next find is the right one
            position, find, add = 0, self._text.find, self._spans.append
            for word in self.raw:
                start = find(word, position)
                position = start + len(word)
                add((start, position))
        return self._spans

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Characters of the tokens ``first <= i < last``."""
        spans = self.spans
        return spans[first][0], spans[last - 1][1]

    def plural(self, index: int) -> bool:
        """Whether a word stood in the plural."""
        return self.raw[index] != self.words[index] and _is_plural(self.raw[index])


def term_words(term: str) -> tuple[str, ...]:
    """A term of a vocabulary as the normal forms that a text would show for it.

    Example:
        >>> term_words("Ground-glass opacities")
        ('ground', 'glass', 'opacity')
    """
    return tuple(Tokens(same_length_lower(term)).words)
