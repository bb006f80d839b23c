"""The four folders and the one package they make."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from organcam import __version__, yaml_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    "pipeline": "organcam",
    "nlp": "organcam.nlp",
    "segmentation": "organcam.segmentation",
    "workflows": "organcam.workflows",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def packages_in_folders() -> set[str]:
    found = set()
    for folder, package in FOLDERS.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            inner = init.parent.relative_to(ROOT / folder).parts
            found.add(".".join((package, *inner)))
    return found


def sources() -> list[Path]:
    return [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]


def test_every_sub_package_is_in_the_wheel():
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages_in_folders()


def test_every_data_file_is_matched_by_the_package_data_patterns():
    suffixes = {
        Path(pattern).suffix or Path(pattern).name for pattern in PROJECT["tool"]["setuptools"]["package-data"]["*"]
    }
    data = [
        p for folder in FOLDERS for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix not in {".py", ".pyc"}
    ]
    assert data
    missing = [p.relative_to(ROOT) for p in data if p.suffix not in suffixes and p.name not in {"py.typed"}]
    assert not missing


def test_no_module_imports_the_folders_by_their_own_names():
    """``import nlp`` works from the checkout by accident and would load every module twice."""
    for path in [*sources(), *(ROOT / "tests").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert not {name.split(".")[0] for name in names} & set(FOLDERS), path


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("organcam", ("torch", "monai", "numpy")),
        ("organcam.cli", ("torch", "monai", "pandas")),
        ("organcam.nlp", ("torch", "monai", "SimpleITK")),
        ("organcam.segmentation", ("torch", "monai", "spacy")),
        ("organcam.stages.segment", ("torch", "monai", "pandas", "SimpleITK")),
        ("organcam.stages.regions", ("torch", "monai")),
        ("organcam.stages.store", ("torch", "monai")),
        ("organcam.stages.ingest", ("torch", "monai")),
        ("organcam.stages.phantom", ("torch", "monai")),
    ],
)
def test_light_parts_stay_light(module, absent):
    """Workers of per-scan stages start with what they need; torch alone costs more than a second."""
    code = f"import sys, {module}; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"


def test_floors_import_downwards_only():
    """cli > stages, report > engines > handlers, inferers > networks ... > nlp, segmentation > catalogue."""
    floors = [
        {
            "catalogue",
            "errors",
            "version",
            "registry",
            "spreadsheet",
            "plugins",
            "geometry",
            "modules",
            "probing",
            "windows",
            "yaml_file",
        },
        {"nlp", "segmentation"},
        {"metrics", "attention", "contract", "runner", "data", "config", "agreement", "candidates", "workflow_file"},
        {"losses", "transforms", "networks", "evaluation", "placement", "audit"},
        {"handlers", "inferers", "injection", "medcam_compat"},
        {"engines"},
        {"stages", "report", "review", "compare", "check", "console", "describe", "bundles", "estimate", "inventory"},
        {"cli", "__main__"},
    ]
    height = {name: floor for floor, names in enumerate(floors) for name in names}
    for path in sources():
        folder = path.relative_to(ROOT).parts[0]
        own = folder if folder in {"nlp", "segmentation"} else path.relative_to(ROOT).with_suffix("").parts[1]
        if folder == "workflows" or own == "__init__":
            continue
        for name in imported_parts(path):
            assert height[name] <= height[own], f"{path.relative_to(ROOT)} imports organcam.{name}"
            assert {own, name} != {"nlp", "segmentation"}, path


def imported_parts(path: Path) -> set[str]:
    """First names below ``organcam`` that a module imports."""
    folder, *inner = path.relative_to(ROOT).with_suffix("").parts
    base = FOLDERS[folder].split(".") + list(inner[:-1])
    parts = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        targets: list[list[str]] = []
        if isinstance(node, ast.ImportFrom):
            start = base[: len(base) - node.level + 1] if node.level else []
            module = start + (node.module.split(".") if node.module else [])
            targets = [[*module, alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        parts |= {target[1] for target in targets if target[0] == "organcam" and len(target) > 1}
    return parts - {"__version__"}


def test_version_is_told():
    done = subprocess.run(
        [sys.executable, "-m", "organcam", "--version"], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout.strip() == f"organcam {__version__}"


def test_every_extra_is_used():
    """An extra that no line of the project uses is a promise that nobody keeps."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources())
    for extra, wanted in PROJECT["project"]["optional-dependencies"].items():
        for requirement in wanted if extra not in {"dev", "docs", "bench"} else ():
            package = requirement.partition(">")[0].partition("[")[0].replace("-", "_")
            used = (f"import {package}", f"from {package}", f'"{package}" in names')  # the last for what MONAI imports
            assert any(words in text for words in used), (extra, package)


def test_the_lowest_versions_are_those_that_are_tested():
    """``make test-lowest`` installs constraints-lowest.txt: no bound of pyproject.toml may be below what is tried."""
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    tried = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    bounds = dict(bound.split(">=") for bound in PROJECT["project"]["dependencies"])

    def numbers(version):
        parts = [int(part) for part in version.split(".") if part.isdigit()]
        return parts + [0] * (4 - len(parts))

    assert bounds.keys() <= tried.keys()
    differing = {name for name, bound in bounds.items() if numbers(bound) != numbers(tried[name])}
    assert differing == {"torch"}  # the file says why
    assert numbers(tried["torch"]) >= numbers(bounds["torch"])


def test_store_files_are_not_opened_by_a_blosc2_that_runs_what_they_hold():
    """Before 4.14.1 reading a crafted file could run a command; a lower bound must not come back."""
    assert "blosc2>=4.14.1" in PROJECT["project"]["dependencies"]


SAFE = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "yaml.load": ("Loader", "_PlainLoader"),
}
UNSAFE = {
    "blosc2.open",
    "blosc2.load",
    "joblib.load",
    "pickle.load",
    "pickle.loads",
    "yaml.full_load",
    "yaml.unsafe_load",
}


def calls(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}, node.lineno


def test_no_file_is_opened_in_a_way_that_can_run_what_it_holds():
    seen = set()
    for path in sources():
        for name, words, line in calls(path):
            assert name not in UNSAFE, f"{path}:{line}: {name}"
            if name in SAFE:
                word, value = SAFE[name]
                assert words.get(word) == str(value), f"{path}:{line}: {name} without {word}={value}"
                seen.add(name)
    assert {"torch.load", "yaml.load"} <= seen
    assert issubclass(yaml_file._PlainLoader, yaml.constructor.SafeConstructor)


def test_no_view_into_an_itk_image_is_taken():
    """Such a view does not keep its image: read after it is gone, it once ended a run with a segmentation fault."""
    assert [path.name for path in sources() if "GetArrayViewFromImage" in path.read_text(encoding="utf-8")] == []
