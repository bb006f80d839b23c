"""What stands for a finding named before: a size with a place, a pronoun, or nothing but what is said of it.

"6 mm in the upper lobe and 11 mm in the lower", "the one on the left", "has cleared from the lingula but persists at
the right base".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress, count, pairwise

from ..language.cues import CueTable
from ..language.trie import Hit
from ..language.vocabulary import Place, Vocabulary
from .headings import heading_end
from .measurements import Size
from .phrases import Member, Phrase

__all__ = ["STAND_IN", "StandIns", "at_organ"]

Attached = tuple[list[Phrase], str]
"""The places of a finding, and the rule that gave it them."""
STAND_IN = "stand_in"
"""Kind of a hit whose words are no term."""


class StandIns:
    """Finds them with a vocabulary and the cues of a language."""

    def __init__(self, vocabulary: Vocabulary, cues: CueTable) -> None:
        self._concepts = vocabulary.concepts
        self._groups = {name: place.group for name, place in vocabulary.places.items()}
        self._cues = cues
        self._lists = lists = cues.words
        self._words = lists["articles"] | lists["pronouns"]
        small = ("prepositions", "articles", "measures", "continuations", "nouns_of_part")
        self._links = frozenset(("(", ")")).union(*(lists[name] for name in small))
        self._joints = lists["joints"]
        said = {name: table for name, table in cues.joined.items() if any(c.backward for c in table)}
        self._said = frozenset(
            name for name, table in said.items() if any(c.change or c.status == "resolved" for c in table)
        )

    def among(
        self,
        words: Sequence[str],
        findings: Sequence[Hit],
        hits: Sequence[Hit],
        cue_hits: Sequence[Hit],
        sizes: Sequence[Size],
    ) -> tuple[list[Hit], frozenset[int]]:
        """Findings with what stands for them, in order, and the tokens at which a statement of its own begins.

        Args:
            words: the sentence.
            findings: its findings, at least one.
            hits: all its terms.
            cue_hits: its cues.
            sizes: its measurements.
        """
        extra: list[Hit] = []
        cuts: set[int] = set()
        if len(sizes) > 1:
            extra = self._sizes(words, findings, hits, sizes)
            changed = {cue.last: cue.first for cue in cue_hits if cue.name in self._said}
            cuts = {changed[hit.first] - 1 for hit in extra if hit.first in changed}
        if self._may_stand(words, hits):
            extra += self._pronouns(words, findings, hits)
        if cue_hits and len(hits) > len(findings):
            unsaid = self._unsaid(words, findings, hits, cue_hits)
            unsaid += self._members(words, findings, hits, cue_hits, sizes)
            cuts.update(hit.first for hit in unsaid)
            extra += {hit.first: hit for hit in unsaid}.values()
        if not extra:
            return list(findings), frozenset()
        return sorted((*findings, *extra), key=lambda hit: hit.first), frozenset(
            cut for cut in cuts if words[cut] in self._joints
        )

    def _may_stand(self, words: Sequence[str], hits: Sequence[Hit]) -> bool:
        lists = self._lists
        return not lists["pronouns"].isdisjoint(words) or (
            not lists["articles"].isdisjoint(words) and any(hit.kind == "side" for hit in hits)
        )

    def _sizes(
        self, words: Sequence[str], findings: Sequence[Hit], hits: Sequence[Hit], sizes: Sequence[Size]
    ) -> list[Hit]:
        """Sizes that stand for one more of a kind ("6 mm in the upper lobe and 11 mm in the lower")."""
        places = [hit for hit in hits if hit.kind != "finding"]
        grown = any(size.prior for size in sizes)  # "has grown from 5 to 8 mm"
        current = [size for size in sizes if not size.prior and not (size.now and grown)]
        earlier = {n for size in sizes if size.prior for n in range(size.first - 1, size.last)}
        placed = [
            size
            for size in current
            if any(
                size.last <= p.first and all(words[n] in self._links or n in earlier for n in range(size.last, p.first))
                for p in places
            )
        ]
        found = []
        for before, size in pairwise(placed):
            named = [hit for hit in findings if hit.last <= before.first]
            if named and not any(before.first < hit.first < size.last for hit in findings):
                found.append(Hit(STAND_IN, named[-1].name, size.first, size.last))
        return found

    def _pronouns(self, words: Sequence[str], findings: Sequence[Hit], hits: Sequence[Hit]) -> list[Hit]:
        """Words that stand for a finding: "but one on the left", "while the left is unchanged"."""
        found, concepts = [], self._concepts
        blocked = self._lists["prepositions"] | self._lists["separators"] | self._lists["finite"]
        subjects = {
            hit.first - 1
            for hit in hits
            if hit.kind == "side"
            and words[hit.last : hit.last + 1]
            and words[hit.last] in self._lists["finite"]
            and not (hit.first > 1 and words[hit.first - 2] in self._lists["prepositions"])
            and self._lists["denials"].isdisjoint(words[hit.last + 1 : hit.last + 4])
        }
        for index in compress(count(), map(self._words.__contains__, words)):
            word = words[index]
            following = words[index + 1 : index + 2]
            alone = not following or (following[0] in blocked and following[0] not in self._lists["spans"])
            if (word in self._lists["articles"] and index in subjects) or (word in self._lists["pronouns"] and alone):
                earlier = [
                    h for h in findings if h.last <= index and (concepts[h.name].labels or concepts[h.name].otherwise)
                ]
                found += [Hit(STAND_IN, h.name, index, index + 1) for h in earlier[-1:]]
        return found

    def _unsaid(
        self, words: Sequence[str], findings: Sequence[Hit], hits: Sequence[Hit], cue_hits: Sequence[Hit]
    ) -> list[Hit]:
        """Joints after which something is said of a finding at another place ("..., but persists at the base")."""
        finite, prepositions, found = self._lists["finite"], self._lists["prepositions"], []
        for cue in cue_hits:
            if cue.name not in self._said or words[cue.last - 1] in prepositions:
                continue
            joint = cue.first - 1
            while joint > 0 and words[joint] in finite:
                joint -= 1
            if joint <= 0 or words[joint] not in self._joints or words[cue.last : cue.last + 1] == []:
                continue
            earlier = [hit for hit in findings if hit.last <= joint and self._concepts[hit.name].labels]
            place = next((hit for hit in hits if hit.first >= cue.last), None)
            if not earlier or place is None or place.kind == "finding" or words[cue.last] not in prepositions:
                continue
            led = self._links.issuperset(words[cue.last : place.first])
            followed = any(hit.kind == "finding" and place.last <= hit.first <= place.last + 1 for hit in hits)
            placed = any(hit.kind != "finding" and hit.last <= joint for hit in hits)
            if led and placed and not followed:
                found.append(Hit(STAND_IN, earlier[-1].name, joint, joint + 1))
        return found

    def _members(
        self,
        words: Sequence[str],
        findings: Sequence[Hit],
        hits: Sequence[Hit],
        cue_hits: Sequence[Hit],
        sizes: Sequence[Size],
    ) -> list[Hit]:
        """Joints of a list of places, each with what is said of it: "metastases: lung (stable), liver (new)".

        Without a heading the places must be alike ("left effusion larger; right trace, stable").
        """
        if ";" not in words and ")" not in words:
            return []
        joints = [
            at for at, word in enumerate(words) if word == ";" or (word in self._joints and words[at - 1] == ")" and at)
        ]
        joints = [at for at in joints if at > findings[0].first]
        if not joints:
            return []
        headed = heading_end(words, findings[0].first, self._lists["finite"]) >= 0
        found = []
        for at, end in pairwise((*joints, len(words))):
            inside = [hit for hit in hits if at < hit.first < end]
            if not inside or any(hit.kind == "finding" for hit in inside) or inside[0].first > at + 3:
                continue
            own = [cue for cue in cue_hits if at < cue.first < end]
            if any(cue.first < inside[0].first and self._denies(cue) for cue in own):  # "..., no axillary"
                continue
            listed = headed and words[at] == ";" and any(at < size.first < end for size in sizes)
            said = listed or any(cue.name in self._said or self._denies(cue) for cue in own)
            before = [hit for hit in hits if hit.last <= at]
            named = [hit for hit in findings if hit.last <= at]
            alike = headed or any(self._alike(inside[0], hit) for hit in before)
            if said and alike and named and self._lists["finite"].isdisjoint(words[at:end]):
                found.append(Hit(STAND_IN, named[-1].name, at, at + 1))
        return found

    def _denies(self, cue: Hit) -> bool:
        return any(c.status == "absent" for c in self._cues.of(cue.name))

    def _alike(self, hit: Hit, other: Hit) -> bool:
        """Whether two hits are both sides, or places of one group."""
        if "place" not in (hit.kind, other.kind):
            return hit.kind == other.kind == "side"
        groups = [self._groups.get(h.name) if h.kind == "place" else None for h in (hit, other)]
        return groups[0] is not None and groups[0] == groups[1]

    def placed(
        self, words: Sequence[str], findings: Sequence[Hit], attached: Sequence[Attached], places: Mapping[str, Place]
    ) -> tuple[list[Hit], list[Attached]]:
        """Findings with their places: what has but a side lies in the organ of what it stands for.

        A joint after which no other place follows stands for nothing.
        """
        kept: list[Hit] = []
        result: list[Attached] = []
        for hit, (own, rule) in zip(findings, attached, strict=True):
            phrases = own
            if hit.kind == STAND_IN:
                if not own and words[hit.first] in self._joints:
                    continue
                named = (
                    p for before, (given, _) in zip(kept, result, strict=True) if before.name == hit.name for p in given
                )
                organs = [phrase for phrase in named if any(member.place for member in phrase.members)]
                phrases = [at_organ(phrase, organs, places) for phrase in own]
            kept.append(hit)
            result.append((phrases, rule))
        return kept, result


def at_organ(phrase: Phrase, organs: Sequence[Phrase], places: Mapping[str, Place]) -> Phrase:
    """A phrase of sides alone with the organ that was named last ("adrenal metastases, right 3 cm, left 2 cm")."""
    if not organs or any(member.place for member in phrase.members):
        return phrase
    whole = next((name for name, place in places.items() if place.both_sides), "")
    names = []
    for member in organs[-1].members:
        place = places.get(member.place)
        if place is None or place.of_context or place.role == "position":
            continue
        names.append(whole if place.role and place.fixed_side else member.place)
    given = [Member(name, m.sides, m.first, m.last) for m in phrase.members for name in dict.fromkeys(names)]
    return phrase._replace(members=tuple(given), firm=True) if given else phrase
