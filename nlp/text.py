"""Tokens: the words of a text with their character offsets, and the one normal form that texts and term lists share."""

from __future__ import annotations

import re

__all__ = ["Tokens", "normal_form", "same_length_lower", "term_words"]

# A hyphen inside a word separates two words ("ground-glass"); one between spaces is punctuation. T12, L1 stay whole.
# Latin letters come first as a plain range, which is twice as fast as the class of all letters at the end.
_TOKEN = re.compile(
    r"[tlc][0-9]{1,2}(?!\w)|[a-zß-ɏ]+(?:['\u2019]s\b)?|[0-9]+(?:[.,][0-9]+)?|[,.;:()\[\]/<>=?!&%+\u00d7*]"
    r"|(?<=\s)[-\u2013\u2014]+(?=\s)|[^\W\d_]+"
)

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
    "prostheses": "prosthesis",
    "fibroses": "fibrosis",
    "scleroses": "sclerosis",
    "bases": "base",
    "foci": "focus",
    "bodies": "body",
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


class _NormalForms(dict[str, tuple[str, bool]]):
    """Normal forms met so far; a plain dictionary look-up is what makes tokenising fast."""

    def __missing__(self, word: str) -> tuple[str, bool]:
        if len(self) > _KNOWN_WORDS:
            self.clear()
        form = self[word] = normal_form(word)
        return form


_KNOWN_WORDS = 100_000
_NORMAL = _NormalForms()


class Tokens:
    """The words of a sentence; offsets are worked out only for sentences that turn out to hold something.

    Attributes:
        words: normal forms in order.
    """

    __slots__ = ("_raw", "_spans", "_text", "words")

    def __init__(self, text: str) -> None:
        self._text = text
        self._raw: list[str] = _TOKEN.findall(text)
        self._spans: list[tuple[int, int]] = []
        self.words = [_NORMAL[word][0] for word in self._raw]

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Characters of the tokens ``first <= i < last``."""
        if not self._spans:
            position, find = 0, self._text.find
            for (
                word
            ) in self._raw:  # what lies between two tokens never holds a token, so the next find is the right one
                start = find(word, position)
                position = start + len(word)
                self._spans.append((start, position))
        return self._spans[first][0], self._spans[last - 1][1]

    def plural(self, index: int) -> bool:
        """Whether a word stood in the plural."""
        return _NORMAL[self._raw[index]][1]


def term_words(term: str) -> tuple[str, ...]:
    """A term of a vocabulary as the normal forms that a text would show for it.

    Example:
        >>> term_words("Ground-glass opacities")
        ('ground', 'glass', 'opacity')
    """
    return tuple(Tokens(same_length_lower(term)).words)
