"""The report parser's quality and speed: own hard sentences, OpenI halves, reports per CPU second.

Run ``python tests/benchmarks/bench_parser.py``. The OpenI training split is read from the folder of shared data
(beside the checkout, or ``--shared``) and left out where it is absent. The halves are chosen by a hash of the file
name; vocabulary and cues were developed on the development half alone.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from organcam.nlp import ParsedReport, ReportParser, cells, load_profile, parse_table

HERE = Path(__file__).resolve().parent
OTHER_SENTENCES = {
    "chest_ct": "fresh_sentences.csv",
    "chest_ct_de": "german_sentences.csv",
    "abdomen_ct": "abdomen_sentences.csv",
}
HARD_SENTENCES = HERE.parent / "nlp" / "hard_sentences.csv"
UNSEEN_SENTENCES = HERE.parent / "nlp" / "unseen_sentences.csv"

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


def unseen_sentences() -> None:
    """Exact cells and CT-RATE labels on the sentences whose gold was written before the parser was run on them."""
    parser, profile = ReportParser(), load_profile("ct_rate")
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    both = one = 0
    with UNSEEN_SENTENCES.open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            report = parser.parse(row["text"])
            if row["present"] != "?":
                total["cells"] += 1
                right["cells"] += cells(report) == {tuple(cell.split("*")) for cell in row["present"].split()}
            if row["ct_rate"] != "?":
                found = {label for label, value in profile.labels(report).items() if value}
                expected = set(filter(None, row["ct_rate"].split(";")))
                total["labels"] += 1
                right["labels"] += found == expected
                both, one = both + len(found & expected), one + len(found ^ expected)
    counts = ", ".join(f"{kind} {right[kind]} of {total[kind]} exact" for kind in total)
    print(f"sentences written before a run: {counts}; micro F1 of the 18 labels {f1(both, one, 0):.3f}")


def other_sentences() -> None:
    """Exact cells of the sentences on places, and of German and the abdomen."""
    for vocabulary, name in OTHER_SENTENCES.items():
        path = HERE.parent / "nlp" / name
        parser = ReportParser(vocabulary)
        with path.open(encoding="utf-8", newline="") as table:
            rows = list(csv.DictReader(table))
        read = ({"*".join(cell) for cell in cells(parser.parse(row["text"]))} for row in rows)
        right = sum(found == set(row["present"].split()) for found, row in zip(read, rows, strict=True))
        print(f"{name}: {right} of {len(rows)} with exactly the right cells")


def located_sentences() -> None:
    """Sentences of an oncologist's and a radiologist's kind: what was right at the first run, and what is now."""
    parser = ReportParser()
    with (HERE.parent / "nlp" / "located_sentences.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind]
        first, now = (sum(row[when] == "right" for row in own) for when in ("first", "now"))
        cells_right = changes = changed = labels = found_labels = placed = 0
        for row in own:
            there = [f for f in parser.parse(row["text"]).findings if f.status in ("present", "uncertain")]
            found = {f"{f.abnormality}*{f.location}" for f in there if f.abnormality}
            cells_right += found == set(row["present"].split())
            for label in {cell.split("*")[0] for cell in row["present"].split()}:
                own_cells = [
                    {c for c in group if c.startswith(f"{label}*")} for group in (found, row["present"].split())
                ]
                labels += 1
                found_labels += bool(own_cells[0])
                placed += own_cells[0] == own_cells[1]
            for label, change in (pair.split("=") for pair in row["change"].split()):
                changed += 1
                changes += "|".join(sorted({f.change for f in there if f.abnormality == label})) == change
        exact = f"{first} of {len(own)} exact at the first run, {now} now"
        where = f"labels found {found_labels} of {labels}, with all their places {placed}"
        print(f"{kind} sentences: {exact}; cells {cells_right}, changes {changes} of {changed}; {where}")


def ct_rate(folder: Path) -> None:
    """The 18 labels on real chest-CT reports, by halves: rules were looked for in the development half alone."""
    with (folder / "reports_and_labels.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    parser, profile = ReportParser(), load_profile("ct_rate")
    labels = list(profile.rules)
    found = {row["report_id"]: profile.labels(parser.parse(row["report_text"])) for row in rows}
    for part in ("development", "check", "both"):
        counts = {label: [0, 0, 0] for label in labels}
        chosen = [row for row in rows if part in (half(row["report_id"]), "both")]
        for row in chosen:
            for label in labels:
                said, true = found[row["report_id"]][label], int(row[label])
                counts[label][0] += said & true
                counts[label][1] += said > true
                counts[label][2] += true > said
        micro = f1(*(sum(count[n] for count in counts.values()) for n in range(3)))
        macro = sum(f1(*count) for count in counts.values()) / len(labels)
        print(f"CT-RATE {part}, {len(chosen)} reports, 18 labels: micro F1 {micro:.3f}, macro F1 {macro:.3f}")
    print("  " + ", ".join(f"{label} {f1(*count):.3f}" for label, count in counts.items()))
    texts = [row["report_text"] for row in rows]
    print(f"  {len(texts)} reports of {sum(map(len, texts)) / len(texts):.0f} characters: {_rates(texts)}")


def _rates(texts: Sequence[str]) -> str:
    parser = ReportParser()
    parser.parse(texts[0])
    first = _rate(parser, texts)
    return f"{first:.0f} per CPU s when every sentence is new, {_rate(parser, texts):.0f} once it has been read"


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
    "The trachea and both main bronchi are patent, and no endobronchial lesion is seen.",
    "There is no pleural effusion, pleural thickening or pneumothorax on either side.",
    "The heart is normal in size and contour, and there is no pericardial effusion or thickening.",
    "No pathologically enlarged lymph nodes are seen in the mediastinum, the hila or both axillae.",
    "Calibers of the thoracic aorta, the pulmonary trunk and the other mediastinal vessels are within normal limits.",
    "The thoracic esophagus is of normal caliber and shows no pathological wall thickening.",
    "In the sections through the upper abdomen the liver, gallbladder, spleen and pancreas are unremarkable.",
    "Both adrenal glands are normal in shape and size, and no space-occupying lesion is seen.",
    "No lytic or destructive lesion is seen in the bones included in the examination.",
    "Vertebral body heights are preserved and the spinal canal is of normal width.",
)
FINDINGS = (
    "A {size} mm {kind} nodule is seen in the {side} {lobe} lobe on image {image}, adjacent to the major fissure.",
    "There are {extent} ground-glass opacities in the {side} {lobe} lobe, {change}, best seen on image {image}.",
    "Linear atelectasis and {extent} bronchiectasis are observed in the {side} lung base (series 3, image {image}).",
    "There is a {side} pleural effusion measuring {size} mm in depth, {change}; no pericardial effusion is present.",
    "{extent} calcified atherosclerotic plaques are present in the aortic arch and in the coronary arteries.",
    "{extent} centrilobular and paraseptal emphysema in both upper lobes, with bullae measuring up to {size} mm.",
    "A lymph node in the {side} lower paratracheal area has a short axis of {size} mm and is {change} (image {image}).",
    "There is no consolidation in the {side} lung, but {extent} peribronchial thickening is seen on image {image}.",
    "A {size} mm simple cyst is seen in the {side} kidney, and a hypodense lesion in the liver (image {image}).",
    "Pleuroparenchymal sequelae are seen in both apices, more pronounced on the {side} side, {change} ({image}).",
)
SLOTS = {
    "kind": ("solid", "calcified", "subpleural", "part-solid"),
    "side": ("right", "left"),
    "lobe": ("upper", "lower"),
    "extent": ("mild", "diffuse", "patchy", "extensive"),
    "change": ("unchanged", "new since the prior examination", "decreased", "larger than before"),
}


def made_reports(count: int, seed: int = 0) -> list[str]:
    """Chest-CT reports of 20 sentences, half of them normal and half with findings that hardly ever repeat."""
    source = random.Random(seed)
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
    distinct = len(set(sentences)) / len(sentences)
    print(f"{count} made reports: {size:.0f} characters, 20 sentences, {distinct:.0%} of them distinct")
    print(f"  as it runs, from an empty cache: {_rate(parser, reports):.0f} reports per CPU s")
    parser.clear_cache(size=0)
    print(f"  with the sentence cache off: {_rate(parser, reports):.0f} reports per CPU s")


def real_speed(folder: Path) -> None:
    """The same on the real reports of OpenI, with their own repetition."""
    with (folder / "reports.csv").open(encoding="utf-8", newline="") as table:
        reports = [f"{row['findings']} {row['impression']}" for row in csv.DictReader(table)]
    size = sum(map(len, reports)) / len(reports)
    parser = ReportParser()
    rate = _rate(parser, reports)
    parser.clear_cache(size=0)
    bare = _rate(parser, reports)
    print(f"{len(reports)} OpenI reports of {size:.0f} characters: {rate:.0f} per CPU s, cache off {bare:.0f}")
    print(f"  which is {rate * size / 2000:.0f} and {bare * size / 2000:.0f} times 2,000 characters per CPU s")


def memory(counts: Sequence[int]) -> None:
    """Peak memory and CPU time of ``organcam parse`` over ever more reports, streamed from a CSV file."""
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            table, out = Path(folder) / f"{count}.csv", Path(folder) / f"labels_{count}"
            _write_made(table, count)
            command = [sys.executable, "-m", "organcam", "parse", "--reports", str(table), "--labels", "ct_rate"]
            process = subprocess.Popen([*command, "--out", str(out), "--quiet"])
            _, code, usage = os.wait4(process.pid, 0)
            peak, seconds = usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime
            print(f"{count} reports: peak {peak:.0f} MiB, {seconds:.0f} CPU s with all tables, exit code {code >> 8}")
            shutil.rmtree(out)


def _write_made(path: Path, count: int) -> None:
    """A CSV of made reports, each different, in blocks so that it is not held in memory."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("scan_id", "report_text"))
        for start in range(0, count, 1000):
            block = made_reports(min(1000, count - start), seed=start)
            writer.writerows((f"S{start + number:06d}", text) for number, text in enumerate(block))


def _rate(parser: ReportParser, reports: Iterable[str]) -> float:
    start = time.process_time()
    count = sum(1 for _ in parser.parse_many(reports))
    return count / (time.process_time() - start)


def main() -> None:
    """Print everything."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared", help="folder of shared data")
    options.add_argument("--reports", type=int, default=1000, help="made reports for the speed")
    options.add_argument("--memory", type=int, nargs="+", metavar="N", help="only the peak memory over N reports")
    given = options.parse_args()
    if given.memory:
        memory(given.memory)
        return
    print(f"Python {sys.version.split()[0]}")
    hard_sentences()
    unseen_sentences()
    other_sentences()
    located_sentences()
    if (given.shared / "data" / "ct_rate_dev").is_dir():
        ct_rate(given.shared / "data" / "ct_rate_dev")
    if (given.shared / "data" / "openi_train").is_dir():
        openi(given.shared / "data" / "openi_train")
        real_speed(given.shared / "data" / "openi_train")
    speed(given.reports)


if __name__ == "__main__":
    main()
