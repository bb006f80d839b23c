"""Workflows and user tables, damaged in hundreds of ways: each is used as it is or refused in words, never more.

A mutation changes a value, a key, the nesting, or bytes of the file. What is accepted must read back to itself; what is
refused must be refused by a `ConfigError` (or another error meant for people) of bounded length that names the file.
The short form runs with every test; the long one (`-m slow`) takes many seeds and prints what became of them.
"""

import copy
import math
import random
import shutil
from collections import Counter
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from organcam.catalogue.label_table import read_label_table
from organcam.check import check_workflow
from organcam.data.discover import find_scans, read_reports
from organcam.errors import ConfigError, OrganCamError
from organcam.nlp import load_vocabulary
from organcam.segmentation.external import read_value_table
from organcam.stages.known_truth import table_problems
from organcam.stages.splits import given_splits
from organcam.workflow_file import load_workflow, parse_workflow

LONGEST_MESSAGE = 20_000
VALUES = [
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**30, 0.0, -0.5, 1e-300, 1e300, math.nan, math.inf, -math.inf,
    "", " ", "a", "all", "nul", "..", "/", "../x", "a/b", "\u202e", "\x00", "é" * 300, "1e400", "-", "yes", "0x10",
    [], [[]], {}, {"a": 1}, ["a", "a"], [None], [1, 2], [3, 2, 1], [0, 0, 0], [-1, -2, -3], [1e9, 1e9, 1e9],
    "2001-99-99", "!!int abc", {"name": {}}, [{}], {"": ""},
]  # fmt: skip
SHIPPED = {
    name: (files("organcam.workflows") / f"{name}.yaml").read_text(encoding="utf-8") for name in ("phantom", "folder")
}
BYTES = [b"\x00", b"\xff\xfe", b'"', b"\t", b"\n", b"\r", b"*a", b"&a ", b"[" * 99, b"- " * 99]
ENCODINGS = ["utf-16", "utf-8-sig", "latin-1"]
LABELS = "tumour:\n  organs: [right_lung, left_lung]\n  cells: [cancer, mass*right_upper]\npneumonia: [left_lung]\n"
ORGANS = "right_lung: [10, 11]\nleft_lung: [12]\nheart_mediastinum: 13\n"
WORDS = "name: mine\nextends: chest_ct\nconcepts: {}\n"
TABLES = {
    "images": "scan_id,image,patient_id,split\na,a.nii.gz,p,train\nb,b.nii.gz,q,valid\n",
    "reports": 'scan_id,report_text\na,"Nodule, left upper lobe."\nb,Clear lungs.\n',
    "splits": "scan_id,split\na,train\nb,valid\n",
    "lesions": "scan_id,value,abnormality,location,mask\na,1,nodule,left_upper,mask.nii.gz\n",
    "organs": "scan_id,organs\na,mask.nii.gz\nb,mask.nii.gz\n",
    "interventions": "scan_id,counterpart,inserted,label\na,b,lesion,lung_nodule\n",
}


def places(node, path=()):
    """Paths of everything inside plain data."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))


def mutated_document(document, random_: random.Random):
    """A copy with one to three changes of values, keys or nesting."""
    result = copy.deepcopy(document)
    for _ in range(random_.randint(1, 3)):
        found = list(places(result))
        if not found:
            return result
        *parents, last = random_.choice(found)
        node = result
        for key in parents:
            node = node[key]
        kind = random_.randrange(5)
        if kind <= 2 or (kind == 3 and not isinstance(node, dict)):
            node[last] = copy.deepcopy(random_.choice(VALUES))
        elif kind == 3:
            node[str(random_.choice([f"{last}x", "", "name", 3, "candidates"]))] = node.pop(last)
        elif isinstance(node, list):
            node.append(copy.deepcopy(node[last]))
        else:
            del node[last]
    return result


def mutated_bytes(content: bytes, random_: random.Random) -> bytes:
    """The file with bytes flipped, cut, doubled, or replaced by what no text holds."""
    data = bytearray(content)
    for _ in range(random_.randint(1, 4)):
        at, kind = random_.randrange(len(data) + 1), random_.randrange(7)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << random_.randrange(8)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            data[at:at] = random_.choice(BYTES)
        elif kind == 3:
            data[at:at] = data[: random_.randrange(len(data) + 1)]
        elif kind == 4:
            data[:] = bytes(data).decode("utf-8", "replace").encode(random_.choice(ENCODINGS), "replace")
        elif kind == 5:
            data[at:at] = b"9" * random_.choice([3, 400, 5_000])
        else:
            start = random_.randrange(len(data) + 1)
            del data[start : start + random_.randrange(9)]
    return bytes(data)


def outcome(action: Callable[[], object], named: str) -> str:
    """What became of it; whatever is not an error for people fails the test."""
    try:
        action()
    except OrganCamError as error:
        assert len(str(error)) < LONGEST_MESSAGE
        if isinstance(error, ConfigError):
            assert named in str(error) or "vocabulary" in str(error)  # which has a name of its own
        return "refused"
    return "accepted"


def attack_documents(seeds: range) -> Counter:
    counts: Counter = Counter()
    for seed in seeds:
        random_ = random.Random(seed)
        name = random_.choice(list(SHIPPED))
        document = mutated_document(yaml.safe_load(SHIPPED[name]), random_)

        def use(document=document) -> None:
            workflow = parse_workflow(document, "mine.yaml")
            again = parse_workflow(yaml.safe_load(yaml.safe_dump(workflow.document())), "again")
            assert again.document() == workflow.document()

        counts[f"workflow {outcome(use, 'mine.yaml')}"] += 1
    return counts


def attack_files(seeds: range, folder: Path) -> Counter:
    readers: dict[str, tuple[str, Callable[[str], object]]] = {
        "workflow file": (SHIPPED["phantom"], load_workflow),
        "label table": (LABELS, read_label_table),
        "organ table": (ORGANS, read_value_table),
        "vocabulary": (WORDS, load_vocabulary),
    }
    counts: Counter = Counter()
    for seed in seeds:
        random_ = random.Random(seed)
        kind = random_.choice(list(readers))
        text, read = readers[kind]
        path = folder / f"{seed}.yaml"
        path.write_bytes(mutated_bytes(text.encode(), random_))
        counts[f"{kind} {outcome(lambda: read(str(path)), path.name)}"] += 1  # noqa: B023
    return counts


def attack_tables(seeds: range, folder: Path) -> Counter:
    counts: Counter = Counter()
    for seed in seeds:
        random_ = random.Random(seed)
        key = random_.choice(list(TABLES))
        path = folder / f"{seed}.csv"
        path.write_bytes(mutated_bytes(TABLES[key].encode(), random_))
        workflow = parse_workflow({"data": {key: str(path)}})
        uses = {
            "images": lambda: find_scans(path),  # noqa: B023
            "reports": lambda: read_reports(path, None, None),  # noqa: B023
            "splits": lambda: given_splits(workflow.data),  # noqa: B023
        }
        if key in uses:
            counts[f"{key} {outcome(uses[key], path.name)}"] += 1
        else:
            problems = list(table_problems(workflow))
            assert all(path.name in problem and len(problem) < LONGEST_MESSAGE for problem in problems)
            counts[f"{key} {'refused' if problems else 'accepted'}"] += 1
    return counts


def attack_checks(seeds: range, folder: Path) -> Counter:
    """Mutated workflows that were accepted, on mutated tables, looked at by `check` as a whole."""
    counts: Counter = Counter()
    small = {"network": {"name": "axialnet", "backbone": "small"}, "input": {"shape": [24, 96, 96]}}
    for seed in seeds:
        random_ = random.Random(seed)
        tables = {}
        for key, text in TABLES.items():
            path = folder / f"{seed}_{key}.csv"
            path.write_bytes(text.encode() if random_.random() < 0.7 else mutated_bytes(text.encode(), random_))
            tables[key] = str(path)
        document = {**yaml.safe_load(SHIPPED["folder"]), **small, "data": tables}
        findings = check_workflow(next(_accepted(document, random_)))
        assert all(len(finding.found) < LONGEST_MESSAGE for finding in findings)
        counts[f"check {'ok' if all(finding.ok for finding in findings) else 'problem'}"] += 1
    return counts


def _accepted(document, random_: random.Random):
    """Mutations of a workflow that are not refused when they are read; its data stay."""
    while True:
        changed = mutated_document({key: document[key] for key in document if key != "data"}, random_)
        try:
            yield parse_workflow({**changed, "data": document["data"]}, "mine.yaml")
        except ConfigError:
            continue


def test_mutated_workflows_and_tables_are_used_or_refused(tmp_path):
    counts = attack_documents(range(150)) + attack_files(range(150), tmp_path) + attack_tables(range(150), tmp_path)
    assert counts["workflow refused"]
    assert counts["workflow accepted"]  # else nothing but the first check was tried
    assert sum(counts.values()) == 450


@pytest.mark.slow
def test_many_mutated_workflows_and_tables_are_used_or_refused(tmp_path, capsys):
    counts = attack_documents(range(1_000, 4_000))
    for start in range(1_000, 4_000, 500):
        counts += attack_files(range(start, start + 500), tmp_path)
        counts += attack_tables(range(start, start + 500), tmp_path)
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
    counts += attack_checks(range(100), tmp_path)
    with capsys.disabled():
        print()
        for what, count in sorted(counts.items()):
            print(f"{count:6} {what}")
    assert sum(counts.values()) == 9_100
