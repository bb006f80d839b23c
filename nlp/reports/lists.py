"""Lists under a title: "Nodules, for example:" and below it places and sizes, each of which is one more of the kind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..sentence.mention import Mention
from ..sentence.reader import SentenceReader
from .sections import Sentence

__all__ = ["ListTitle", "title_of_list"]

_BULLET = re.compile(r"(?:^|\n)[ \t]*(?:[-*\u2022\u00b7\u2013>]|\(?\d{1,2}[.)])[ \t]*$")
_BLANK_LINE = re.compile(r"\n[ \t]*\r?\n")
_LEAD = 40


@dataclass
class ListTitle:
    """A sentence that ends in a colon and names findings.

    Attributes:
        sentence: where it stands.
        words: its words up to its last finding, in lower case.
        mentions: its findings, which count by themselves where no list follows.
    """

    sentence: Sentence
    words: str
    mentions: Sequence[Mention]
    _used: bool = field(default=False, repr=False)

    def item(
        self, sentence: Sentence, text: str, words: str, mentions: Sequence[Mention], reader: SentenceReader
    ) -> tuple[Mention, ...] | None:
        """The mentions of the next sentence as an item of the list; None where it is none and the list has ended.

        An item with findings of its own is read as it is; one of places and sizes alone gets those of the title.
        """
        lead = text[max(0, sentence.start - _LEAD) : sentence.start]
        if _BLANK_LINE.search(text, self.sentence.end if not self._used else sentence.start - 1, sentence.start):
            return None
        bulleted = _BULLET.search(lead) is not None
        if any(label for mention in mentions for label, _ in mention.labels):
            self._used = self._used or bulleted
            return tuple(mentions) if bulleted else None
        if not (bulleted or "\n" in lead) or not reader.is_list_item(words):
            return None
        self._used = True
        prefix = f"{self.words}: "
        by = len(prefix)
        shift = self.sentence.start - sentence.start
        found = reader.read(prefix + words, sentence.topic).mentions
        return tuple(_moved(mention, by, shift) for mention in found)

    def unused(self) -> Sequence[Mention]:
        """The findings of the title where no list followed."""
        return () if self._used else self.mentions


def title_of_list(
    sentence: Sentence, words: str, named: Sequence[Mention], mentions: Sequence[Mention]
) -> ListTitle | None:
    """The title that a sentence ending in a colon is, if it names findings.

    Args:
        sentence: where it stands.
        words: its words in lower case.
        named: the findings among its words without the colon.
        mentions: those that count if no list follows; none for a bare heading ("Consolidation:").
    """
    labelled = [mention for mention in named if any(label for label, _ in mention.labels)]
    return ListTitle(sentence, words[: labelled[-1].end], mentions) if labelled else None


def _moved(mention: Mention, by: int, shift: int) -> Mention:
    """A mention of title and item read as one, counted from the item; what the title gave it has no characters."""
    moved = mention.moved(-by)
    return moved if mention.start >= by else moved._replace(start=mention.start + shift, end=mention.end + shift)
