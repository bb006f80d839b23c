"""The report parser's quality and speed: own hard sentences, OpenI halves, reports per CPU second.

Run ``python tests/benchmarks/bench_parser.py``. The OpenI training split is read from the folder of shared data
(beside the checkout, or ``--shared``) and left out where it is absent. The halves are chosen by a hash of the file
name; vocabulary and cues were developed on the development half alone.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from organcam.nlp import ParsedReport, ReportParser, cells, parse_table

HERE = Path(__file__).resolve().parent
HARD_SENTENCES = HERE.parent / "nlp" / "hard_sentences.csv"

# MeSH heading of a finding of the lung -> label, for the accuracy of locations
HEADINGS = {
    "Opacity": "opacity",
    "Pulmonary Atelectasis": "atelectasis",
    "Calcified Granuloma": "granuloma",
    "Granuloma": "granuloma",
    "Cicatrix": "scarring",
    "Airspace Disease": "airspace_disease",
    "Pleural Effusion": "pleural_effusion",
    "Nodule": "nodule",
    "Infiltrate": "infiltrate",
    "Density": "density",
    "Consolidation": "consolidation",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
}
ZONES = {
    "upper lobe": "upper",
    "apex": "upper",
    "middle lobe": "mid",
    "lingula": "mid",
    "lower lobe": "lower",
    "base": "lower",
}
SIDES = {"right": {"right"}, "left": {"left"}, "bilateral": {"right", "left"}}


def half(name: str) -> str:
    """The half of the OpenI training split that a file belongs to."""
    return "check" if hashlib.sha256(name.encode()).digest()[0] & 1 else "development"


def f1(hits: int, extra: int, missed: int) -> float:
    """F1 of counts; 0 where there is nothing to count."""
    return 2 * hits / (2 * hits + extra + missed) if hits + extra + missed else 0.0


def hard_sentences() -> None:
    """Exact cells on the own hard set."""
    parser = ReportParser()
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    with HARD_SENTENCES.open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            expected = {tuple(cell.split("*")) for cell in row["present"].split()}
            total[row["kind"]] += 1
            right[row["kind"]] += cells(parser.parse(row["text"])) == expected
    kinds = ", ".join(f"{kind} {right[kind]}/{total[kind]}" for kind in total)
    print(f"hard sentences: {right.total()} of {total.total()} with exactly the right cells ({kinds})")


def openi(folder: Path) -> None:
    """F1 and location accuracy on both halves, for both policies of uncertainty."""
    reports = dict(parse_table(folder / "reports.csv", vocabulary="chest_xray"))
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as table:
        truth = {row.pop("filename"): {k for k, v in row.items() if v == "1"} for row in csv.DictReader(table)}
    with (folder / "mesh.csv").open(encoding="utf-8", newline="") as table:
        mesh = {row["filename"]: row["MeSH"].split(";") for row in csv.DictReader(table)}
    for part in ("development", "check"):
        names = [name for name in reports if half(name) == part]
        for uncertain in ("negative", "positive"):
            found = {n: {a for a, _ in cells(reports[n], uncertain)} for n in names}  # type: ignore[arg-type]
            print(f"OpenI {part} half, {len(names)} reports, uncertain {uncertain}: {_scores(found, truth, names)}")
        print(f"OpenI {part} half, locations: {_locations({n: reports[n] for n in names}, mesh)}")


def _scores(found: dict[str, set[str]], truth: dict[str, set[str]], names: Sequence[str]) -> str:
    hits = Counter(label for n in names for label in found[n] & truth[n])
    extra = Counter(label for n in names for label in found[n] - truth[n])
    missed = Counter(label for n in names for label in truth[n] - found[n])
    frequent = [label for label in hits | missed if hits[label] + missed[label] >= 20]
    macro = sum(f1(hits[x], extra[x], missed[x]) for x in frequent) / len(frequent)
    precision, recall = hits.total() / (hits + extra).total(), hits.total() / (hits + missed).total()
    micro = f1(hits.total(), extra.total(), missed.total())
    overall = f"P {precision:.3f} R {recall:.3f} micro F1 {micro:.4f}"
    return f"{overall}, macro over {len(frequent)} labels with >= 20 {macro:.4f}"


def _locations(reports: dict[str, ParsedReport], mesh: dict[str, list[str]]) -> str:
    """Exact sides and zones of findings that MeSH codes with one, where the finding itself was found."""
    sides, zones = Counter(), Counter()
    for name, report in reports.items():
        coded: dict[str, list[list[str]]] = {}
        for entry in mesh[name]:
            heading, *words = entry.split("/")
            if heading in HEADINGS:
                coded.setdefault(HEADINGS[heading], []).append(words)
        for label, entries in coded.items():
            places = {
                f.location for f in report.findings if f.abnormality == label and f.status in ("present", "uncertain")
            }
            stated = set().union(*(SIDES[w] for words in entries for w in words if w in SIDES))
            levels = {ZONES[w] for words in entries for w in words if w in ZONES}
            if places and stated:
                sides[stated == {s for s in ("right", "left") if any(p.startswith(s) for p in places)}] += 1
            if places and levels:
                zones[levels == {z for z in ("upper", "mid", "lower") if any(p.endswith("_" + z) for p in places)}] += 1
    return (
        f"side {sides[True] / sides.total():.3f} of {sides.total()}, "
        f"lobe or zone {zones[True] / zones.total():.3f} of {zones.total()}"
    )


NORMAL = (
    "Trachea and main bronchi are patent.",
    "No pleural effusion or pneumothorax.",
    "The heart is normal in size and there is no pericardial effusion.",
    "No pathologically enlarged mediastinal, hilar or axillary lymph nodes.",
    "Calibers of the mediastinal vascular structures are within normal limits.",
    "The esophagus is unremarkable.",
    "Visualized upper abdominal organs are normal.",
    "Both adrenal glands are normal in shape and size.",
    "No lytic or destructive bone lesion is seen.",
    "Vertebral body heights are preserved.",
)
FINDINGS = (
    "A {size} mm {kind} nodule is seen in the {side} {lobe} lobe on image {image}.",
    "{extent} ground-glass opacities in the {side} {lobe} lobe, {change} on image {image}.",
    "Linear atelectasis and {extent} bronchiectasis in the {side} lung base (image {image}).",
    "{side} pleural effusion measuring {size} mm, {change}; no pericardial effusion at image {image}.",
    "Calcified atherosclerotic plaques in the aortic arch and the coronary arteries, {extent}, on image {image}.",
    "{extent} emphysema in both upper lobes with bullae up to {size} mm on image {image}.",
    "Lymph node in the {side} lower paratracheal area with a short axis of {size} mm (image {image}).",
    "There is no consolidation in the {side} lung, but {extent} peribronchial thickening on image {image}.",
    "A {size} mm simple cyst in the {side} kidney and a hypodense lesion in the liver, image {image}.",
    "Pleuroparenchymal sequelae in both apices, more pronounced on the {side} side, image {image}.",
)
SLOTS = {
    "kind": ("solid", "calcified", "subpleural", "part-solid"),
    "side": ("right", "left"),
    "lobe": ("upper", "lower"),
    "extent": ("mild", "diffuse", "patchy", "extensive"),
    "change": ("unchanged", "new since the prior examination", "decreased", "larger than before"),
}


def made_reports(count: int) -> list[str]:
    """Chest-CT reports of 20 sentences, half of them normal and half with findings that hardly ever repeat."""
    source = random.Random(0)
    reports = []
    for _ in range(count):
        sentences = [source.choice(NORMAL) for _ in range(10)]
        for _ in range(10):
            slots = {name: source.choice(values) for name, values in SLOTS.items()}
            text = source.choice(FINDINGS).format(**slots, size=source.randint(2, 30), image=source.randint(1, 999))
            sentences.append(text[0].upper() + text[1:])
        source.shuffle(sentences)
        reports.append("FINDINGS: " + " ".join(sentences))
    return reports


def speed(count: int) -> None:
    """Reports per CPU second, with the sentence cache and without."""
    started = time.process_time()
    parser = ReportParser()
    print(f"start-up after import: {time.process_time() - started:.2f} CPU s")
    reports = made_reports(count)
    sentences = [s for r in reports for s in r.split(". ")]
    size = sum(map(len, reports)) / len(reports)
    print(
        f"{count} made reports: {size:.0f} characters, {len(set(sentences)) / len(sentences):.0%} of sentences distinct"
    )
    print(f"  as it runs: {_rate(parser, reports):.0f} reports per CPU s")
    parser.clear_cache(size=0)
    print(f"  with the sentence cache off: {_rate(parser, reports):.0f} reports per CPU s")


def _rate(parser: ReportParser, reports: Iterable[str]) -> float:
    start = time.process_time()
    count = sum(1 for _ in parser.parse_many(reports))
    return count / (time.process_time() - start)


def main() -> None:
    """Print everything."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared", help="folder of shared data")
    options.add_argument("--reports", type=int, default=1000, help="made reports for the speed")
    given = options.parse_args()
    print(f"Python {sys.version.split()[0]}")
    hard_sentences()
    if (given.shared / "data" / "openi_train").is_dir():
        openi(given.shared / "data" / "openi_train")
    speed(given.reports)


if __name__ == "__main__":
    main()
