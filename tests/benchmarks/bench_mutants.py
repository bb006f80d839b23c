"""How many changes of the code the tests notice: the table of ``docs/reliability.md``; prints, asserts nothing.

    python tests/benchmarks/bench_mutants.py [GROUP ...] [--sample] [--survivors]

Each group of modules is mutated by mutmut in ``build/mutants/<group>``, beside a copy of the tests, and judged by the
tests that are meant for it. A second call goes on where the first was stopped; remove the folder to begin anew. On one
core minutes a group, and half an hour for ``probing``.

mutmut leaves functions with a decorator alone; those of a module are therefore decorated one line later.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"pipeline": "", "nlp": "nlp", "segmentation": "segmentation", "workflows": "workflows"}


class Group(NamedTuple):
    """Modules, the tests that judge them, and which of those are left out for their length."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    chosen: str = ""


GROUPS = {
    "geometry": Group(("geometry.py",), ("test_geometry.py",)),
    "losses": Group(("losses/*",), ("losses",)),
    "organ_iou": Group(
        (
            *("metrics/functional/organ_iou.py", "metrics/organ_iou_metric.py"),
            *("metrics/presence.py", "metrics/thresholds.py"),
        ),
        ("metrics/test_organ_iou.py", "metrics/test_presence.py"),
    ),
    "metrics": Group(
        ("metrics/classification.py", "metrics/functional/localization.py", "metrics/groups.py"),
        ("metrics/test_classification.py", "metrics/test_localization.py", "metrics/test_groups.py"),
    ),
    "faithfulness": Group(("metrics/functional/faithfulness.py",), ("metrics/test_faithfulness.py",)),
    "placement": Group(("placement/*", "attention/on_source.py"), ("placement",), "not real"),
    "pooling": Group(("networks/masked_pooling.py",), ("networks/test_masked_pooling.py",)),
    "windows": Group(("windows.py", "modules.py"), ("test_windows.py", "test_modules.py")),
    "contract": Group(("contract.py",), ("networks/test_contract.py",), "not grids or axialnet"),
    "probing": Group(
        ("probing.py",),
        ("test_probing_operations.py", "test_probing.py"),
        "(not impulse or densenet-2 or unet-2) and not full_scan and not composition",
    ),
    "capture": Group(
        ("attention/capture.py", "attention/gradients.py", "attention/guided.py"),
        (
            *("attention/test_capture.py", "attention/test_gradients.py", "attention/test_guided.py"),
            "attention/test_no_trace.py",
        ),
        "not (trace or surroundings or threads or compiled or rank or half)",
    ),
    "head": Group(
        ("attention/find_head.py", "attention/linear_head.py"),
        ("attention/test_linear_head.py", "attention/test_find_head.py"),
        "not monai",
    ),
    "inputs": Group(
        ("attention/inputs.py", "attention/targets.py"), ("attention/test_inputs.py", "attention/test_targets.py")
    ),
    "explanation": Group(
        ("attention/explanation.py", "attention/maps.py", "attention/on_input.py", "attention/listener.py"),
        ("attention/test_explanation.py", "attention/test_listener.py"),
    ),
    "result": Group(("attention/result.py", "attention/picture.py"), ("attention/test_result.py",)),
    "export": Group(
        ("attention/export.py", "attention/resample.py"), ("attention/test_export.py", "attention/test_resample.py")
    ),
    "methods": Group(("attention/methods/*",), ("attention/test_methods.py",)),
}
OUTCOMES = {0: "survived", 1: "killed", 3: "killed", 5: "survived", 33: "survived", None: "not run"}
"""Exit codes of mutmut's runs; any other is a run that took too long, which counts as noticed."""

SETTINGS = """[tool.mutmut]
source_paths = ["organcam"]
only_mutate = {modules}
also_copy = ["docs"]
pytest_add_cli_args = {arguments}
pytest_add_cli_args_test_selection = {tests}
track_dependencies = false
use_git_change_detection = false
timeout_constant = 2.0
timeout_multiplier = 5.0
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; default all")
    parser.add_argument("--sample", action="store_true", help="try three changes of ten (2, 5 and 8 at the end)")
    parser.add_argument("--survivors", action="store_true", help="print the changes that no test noticed")
    chosen = parser.parse_args()
    names = chosen.groups or list(GROUPS)
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        parser.error(f"no group {unknown[0]!r}; legal are {', '.join(GROUPS)}")
    print("| module | changes | tried | noticed | share |\n|---|---|---|---|---|")
    total: Counter[str] = Counter()
    for name in names:
        folder = prepared(name)
        some = ["*[258]"] if chosen.sample else []
        mutmut(folder, "run", "--max-children", "1", *some, output=folder / "mutmut.log")
        for module, outcomes in results(folder).items():
            total.update(outcomes.values())
            print_row(module, Counter(outcomes.values()))
            if chosen.survivors:
                for key, outcome in outcomes.items():
                    if outcome == "survived":
                        mutmut(folder, "show", key)
    print_row("together", total)


def prepared(name: str) -> Path:
    """The folder of a group: the package under its own name, the newest tests, and mutmut's settings."""
    group, folder = GROUPS[name], ROOT / "build" / "mutants" / name
    for source, target in FOLDERS.items():
        place = folder / "organcam" / target
        if not (place / "__init__.py").exists():
            shutil.copytree(ROOT / source, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            for module in (one for pattern in group.modules for one in place.glob(pattern) if one.suffix == ".py"):
                module.write_text(decorated_later(module.read_text("utf-8")), "utf-8")
    for part in ("tests", "docs"):
        for place in (folder / part, folder / "mutants" / part):
            shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    arguments = ["-p", "no:cacheprovider", "-m", "not slow", *(["-k", group.chosen] if group.chosen else [])]
    settings = SETTINGS.format(
        modules=json.dumps([f"organcam/{module}" for module in group.modules]),
        arguments=json.dumps(arguments),
        tests=json.dumps([f"tests/{test}" for test in group.tests]),
    )
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text("utf-8") + "\n" + settings, "utf-8")
    return folder


def decorated_later(source: str) -> str:
    """The module with ``@one`` above a function as ``function = one(function)`` below it."""
    lines = source.splitlines(keepends=True)
    for node in reversed(ast.parse(source).body):
        if isinstance(node, ast.FunctionDef) and len(node.decorator_list) == 1:
            decorator = node.decorator_list[0]
            name = ast.get_source_segment(source, decorator)
            if name != "overload":
                lines.insert(node.end_lineno or 0, f"\n\n{node.name} = {name}({node.name})\n")
                del lines[decorator.lineno - 1 : node.lineno - 1]
    return "".join(lines)


def mutmut(folder: Path, *arguments: str, output: Path | None = None) -> None:
    """Run mutmut; its progress goes to a file, what it shows to the terminal."""
    command = [sys.executable, "-c", "from mutmut.__main__ import cli; cli()", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("ORGANCAM_SHARED", None)  # real data make the tests slower and kill nothing more
    if output is None:
        subprocess.run(command, cwd=folder, env=environment, check=True)
        return
    with output.open("wb") as stream:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=stream, stderr=stream, check=False)
    if done.returncode:
        sys.exit(f"mutmut stopped with {done.returncode}, see {output}")


def results(folder: Path) -> dict[str, dict[str, str]]:
    """Module -> change -> outcome."""
    found = {}
    for path in sorted((folder / "mutants" / "organcam").rglob("*.meta")):
        codes = json.loads(path.read_text("utf-8"))["exit_code_by_key"]
        if codes:
            name = re.sub(r"\.py\.meta$", "", path.relative_to(folder / "mutants" / "organcam").as_posix())
            found[name] = {key: OUTCOMES.get(code, "too long") for key, code in codes.items()}
    return found


def print_row(name: str, counts: Counter[str]) -> None:
    count = counts.total() - counts["not run"]
    noticed = count - counts["survived"]
    print(f"| {name} | {counts.total():,} | {count:,} | {noticed:,} | {noticed / max(count, 1):.1%} |", flush=True)


if __name__ == "__main__":
    main()
