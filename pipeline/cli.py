"""The command line: workflows, single stages, and a few helpers around them.

torch and MONAI are imported inside commands only, so that ``organcam --help`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.markup import escape
from rich.table import Table

from .console import (
    configure_logging,
    end_of,
    err_console,
    out_console,
    print_checks,
    print_costs,
    print_findings,
    print_lesions,
    print_organs,
    print_results,
    show_outcome,
    show_stage,
    stoppable,
)
from .errors import ConfigError
from .version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    name="organcam",
    help="Explainable multi-abnormality classification of chest CT. Not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Scans = Annotated[
    list[Path] | None, typer.Argument(help="Volumes, one folder, or a CSV; default those of OUT/workflow.yaml.")
]
WorkflowOf = Annotated[str | None, typer.Option("--workflow", "-w", help="Workflow file; default OUT/workflow.yaml.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Run directory; made if needed.")]
Set = Annotated[list[str], typer.Option("--set", help="dotted.key=value, over the workflow file; repeatable.")]
Workers = Annotated[int, typer.Option("--workers", "-j", min=1, help="Processes for per-scan stages.")]
Engine = Annotated[str, typer.Option("--executor", help="serial, processes, dask, or an installed one.")]
Scheduler = Annotated[str | None, typer.Option(help="Of dask: local, or tcp://HOST:PORT of a running one.")]
Part = Annotated[str | None, typer.Option("--shard", help="i/n: take the i-th of n parts of the scans.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def main() -> NoReturn:
    """Entry point of the command."""
    end_of(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"organcam {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Explainable multi-abnormality classification of chest CT. Not a medical device."""


@app.command()
def run(
    workflow: Annotated[str, typer.Argument(help="A workflow file, or the name of a shipped one: phantom, folder.")],
    out: Out,
    settings: Set = [],  # noqa: B006 - typer's way of a repeatable option
    first: Annotated[str | None, typer.Option("--from", help="First stage to run.")] = None,
    last: Annotated[str | None, typer.Option("--until", help="Last stage to run.")] = None,
    workers: Workers = 1,
    executor: Engine = "processes",
    scheduler: Scheduler = None,
    shard: Part = None,
    quiet: Quiet = False,
) -> None:
    """Run a workflow. The same command goes on where a killed run stopped."""
    from .stages.workflow import select_stages  # noqa: PLC0415
    from .workflow_file import load_workflow  # noqa: PLC0415

    checked = load_workflow(workflow, settings)
    _run(checked, out, select_stages(checked, first, last), workers, executor, shard, quiet, scheduler)


def _stage_command(name: str, text: str) -> None:
    """Register the command of one stage: it runs inside a run directory, with that directory's workflow."""

    @app.command(name, help=text)
    def command(
        out: Out,
        workflow: WorkflowOf = None,
        settings: Set = [],  # noqa: B006
        workers: Workers = 1,
        executor: Engine = "processes",
        scheduler: Scheduler = None,
        shard: Part = None,
        quiet: Quiet = False,
    ) -> None:
        _run(_workflow_of(out, workflow, settings), out, [name], workers, executor, shard, quiet, scheduler)


for _name, _text in {
    "ingest": "Find, check, join and split scans and reports: manifest.csv.",
    "store": "Resample and store the scans for training: volumes/.",
    "train": "Train the models of the workflow: models/.",
    "report": "Write the HTML pages: report/index.html.",
}.items():
    _stage_command(_name, _text)


@app.command()
def segment(
    out: Out,
    scans: Scans = None,
    method: Annotated[str | None, typer.Option(help="organcam, or reference for the published rule.")] = None,
    external: Annotated[Path | None, typer.Option(help="Folder of label maps of another tool, used instead.")] = None,
    label_table: Annotated[
        str | None, typer.Option(help="Its values: totalsegmentator, lungmask, a YAML file.")
    ] = None,
    parts: Annotated[bool, typer.Option("--parts", help="Also airways, aorta and heart: <id>_parts.nii.gz.")] = False,
    png: Annotated[bool, typer.Option("--png", help="A picture of every scan with its organs.")] = False,
    settings: Set = [],  # noqa: B006
    workers: Workers = 1,
    executor: Engine = "processes",
    scheduler: Scheduler = None,
    shard: Part = None,
    quiet: Quiet = False,
) -> None:
    """Segment lungs, heart and mediastinum: organs/."""
    given = {"method": method, "external": external, "label_table": label_table}
    chosen = {key: str(value) for key, value in given.items() if value is not None}
    wanted = _with_section(
        "segment", {**chosen, **({"png": True} if png else {}), **({"parts": True} if parts else {})}
    )
    with _shown_after(lambda: print_organs(out), quiet):
        if scans:
            workflow = _workflow({"data": _images(scans)}, settings, wanted)
            _run(workflow, out, ["ingest", "segment"], workers, executor, shard, quiet, scheduler)
        _run(_workflow_of(out, None, settings, wanted), out, ["segment"], workers, executor, shard, quiet, scheduler)


@app.command()
def explain(
    out: Out,
    scans: Annotated[
        list[Path] | None, typer.Argument(help="Volumes, DICOM folders, one folder, or a CSV, to explain by --model.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Run directory, its models/NAME, or a trusted bundle.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Of a bundle: state dictionary or TorchScript.")] = None,
    layer: Annotated[str | None, typer.Option(help="Layer to explain; default the network's own.")] = None,
    methods: Annotated[str, typer.Option(help="Attention methods, comma-separated.")] = "hirescam",
    labels: Annotated[str, typer.Option(help="Full-size files of these, comma-separated; default the highest.")] = "",
    top_k: Annotated[int, typer.Option(min=1, help="How many of the highest.")] = 1,
    nifti: Annotated[bool, typer.Option("--nifti", help="On the scan's own voxels.")] = False,
    png: Annotated[bool, typer.Option("--png", help="Pictures.")] = False,
    dicom: Annotated[bool, typer.Option("--dicom", help="Beside the scan's DICOM series.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Of a run: only check, on one scan, that maps say what its models did.")
    ] = False,
    workflow: WorkflowOf = None,
    settings: Set = [],  # noqa: B006
    workers: Workers = 1,
    executor: Engine = "processes",
    scheduler: Scheduler = None,
    shard: Part = None,
    quiet: Quiet = False,
) -> None:
    """Write the attention maps of all labels: of a run (attention/), or of SCANS by any model."""
    if scans is None:
        checked = _workflow_of(out, workflow, settings)
        if verify:
            raise typer.Exit(print_checks(checked, out))
        _run(checked, out, ["explain"], workers, executor, shard, quiet, scheduler)
    if model is None:
        msg = "explain SCANS needs --model: a run directory or a bundle"
        raise ConfigError(msg)
    if verify:
        msg = "--verify checks the models of a run: leave out SCANS"
        raise ConfigError(msg)
    from .bundles.command import print_explanations  # noqa: PLC0415

    wishes = {"methods": _listed(methods), "labels": _listed(labels), "top": top_k}
    with stoppable():
        code = print_explanations(
            model, weights, layer, scans, out, {**wishes, "nifti": nifti, "png": png, "dicom": dicom}
        )
    raise typer.Exit(code)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


@app.command()
def regions(
    out: Out,
    scans: Scans = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Draw the cells of this label over every scan; repeatable.")
    ] = None,
    label_table: Annotated[Path | None, typer.Option(help="YAML of labels of your own and their organs.")] = None,
    lesions: Annotated[
        bool, typer.Option("--lesions", help="Also print how much of the known lesions lies in allowed cells.")
    ] = False,
    workflow: WorkflowOf = None,
    settings: Set = [],  # noqa: B006
    workers: Workers = 1,
    executor: Engine = "processes",
    scheduler: Scheduler = None,
    shard: Part = None,
    quiet: Quiet = False,
) -> None:
    """Lay the feature cells of the models over the organs: regions/."""
    wanted = _with_section("regions", {"pictures": label} if label else {})
    if label_table is not None:
        wanted["labels"] = {"table": str(label_table)}
    checked = (
        _workflow({"data": _images(scans)}, settings, wanted)
        if scans
        else _workflow_of(out, workflow, settings, wanted)
    )
    if lesions and checked.data.lesions is None:
        msg = "--lesions: the workflow names no table of known lesions (data.lesions)"
        raise ConfigError(msg)
    stages = ["ingest", "segment", "store", "regions"] if scans else ["regions"]
    with _shown_after(lambda: print_lesions(checked, out) if lesions else None, quiet=False):
        _run(checked, out, stages, workers, executor, shard, quiet, scheduler)


@app.command()
def evaluate(
    out: Out,
    maps: Annotated[
        Path | None, typer.Option(help="Maps of another program: MODEL/METHOD/SCAN.npz or SCAN_LABEL.nii.gz.")
    ] = None,
    masks: Annotated[
        list[Path] | None, typer.Option(help="With --maps: folder of allowed regions; repeat for another source.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="With --maps: CSV of scan_id and 0/1 labels.")] = None,
    lesions: Annotated[Path | None, typer.Option(help="With --maps: folder of lesion masks.")] = None,
    thresholds: Annotated[Path | None, typer.Option(help="With --maps: thresholds.json to use.")] = None,
    reference: Annotated[str | None, typer.Option(help="With --maps: MODEL/METHOD that gains are over.")] = None,
    fidelity: Annotated[str, typer.Option(help="With --maps: default, or reference as published.")] = "default",
    workflow: WorkflowOf = None,
    settings: Set = [],  # noqa: B006
    workers: Workers = 1,
    executor: Engine = "processes",
    shard: Part = None,
    quiet: Quiet = False,
) -> None:
    """OrganIoU, AUROC, pointing, interventions: of a run (evaluation/), or of maps, masks and labels in files."""
    files = {"--masks": masks, "--labels": labels, "--lesions": lesions, "--thresholds": thresholds}
    if maps is None:
        for name, value in {**files, "--reference": reference}.items():
            if value:
                msg = f"{name} belongs to --maps: without it the run in {out} is evaluated"
                raise ConfigError(msg)
        _run(_workflow_of(out, workflow, settings), out, ["evaluate"], workers, executor, shard, quiet)
    if labels is None:
        msg = "--maps needs --labels: a CSV with scan_id and a 0/1 column for each label"
        raise ConfigError(msg)
    from .console import print_given_maps  # noqa: PLC0415

    options = {"lesions": lesions, "thresholds": thresholds, "reference": reference, "fidelity": fidelity}
    raise typer.Exit(print_given_maps(maps, masks or [], labels, out, options, quiet))


@app.command()
def parse(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run directory; made if needed.")] = None,
    reports: Annotated[Path | None, typer.Option(help="CSV of reports; default that of OUT/workflow.yaml.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column of the report id; known forms are found.")] = None,
    text_columns: Annotated[str | None, typer.Option(help="Columns of the text, comma-separated.")] = None,
    vocabulary: Annotated[str, typer.Option(help="Shipped vocabulary, or the path of a YAML file.")] = "chest_ct",
    labels: Annotated[str | None, typer.Option(help="A label profile to write too: ct_rate.")] = None,
    uncertain: Annotated[str | None, typer.Option(help="positive or negative; default by vocabulary.")] = None,
    historical: Annotated[str, typer.Option(help="positive or negative.")] = "negative",
    text: Annotated[str | None, typer.Option(help="One report, printed as a table of findings.")] = None,
    workers: Workers = 1,
    html: Annotated[Path | None, typer.Option(help="With --text: write the report with its findings marked.")] = None,
    review: Annotated[Path | None, typer.Option(help="Write a page to check the parser on some of --reports.")] = None,
    sample: Annotated[int, typer.Option(min=1, help="How many reports that page shows.")] = 100,
    review_scores: Annotated[
        Path | None, typer.Option(help="The CSV that page saved: print precision and recall per label.")
    ] = None,
    settings: Set = [],  # noqa: B006
    quiet: Quiet = False,
) -> None:
    """Parse report text into abnormality x location labels: labels/."""
    if text is not None:
        raise typer.Exit(print_findings(text, vocabulary, html))
    if html is not None:
        msg = "--html shows one report: give its --text"
        raise ConfigError(msg)
    columns = [column.strip() for column in (text_columns or "").split(",") if column.strip()]
    if review is not None or review_scores is not None:
        from .review import scores_table, write_review  # noqa: PLC0415

        if review_scores is not None:
            out_console.print(scores_table(review_scores))
            return
        if review is None or reports is None:
            msg = "--review shows some of the reports of a table: give --reports FILE"
            raise ConfigError(msg)
        shown = write_review(
            review,
            reports,
            id_column,
            columns or None,
            vocabulary=vocabulary,
            uncertain=uncertain,
            historical=historical,
            count=sample,
        )
        out_console.print(
            f"{review}: {shown} report{'' if shown == 1 else 's'}", markup=False, highlight=False, soft_wrap=True
        )
        return
    if out is None:
        msg = "parse needs --out DIR, or --text for one report"
        raise ConfigError(msg)
    if reports is None:
        _run(_workflow_of(out, None, settings), out, ["parse"], workers, "processes", None, quiet)
    data: dict[str, Any] = {"reports": str(reports), "report_id_column": id_column}
    if columns:
        data["report_text_columns"] = columns
    rules = {"vocabulary": vocabulary, "uncertain": uncertain, "historical": historical, "labels": labels}
    _run(_workflow({"data": data, "parse": rules}, settings), out, ["parse"], workers, "processes", None, quiet)


@app.command()
def phantom(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set; made if needed.")],
    settings: Annotated[
        list[str], typer.Option("--set", help="key=value of the phantom section, such as scans.train=10; repeatable.")
    ] = [],  # noqa: B006
    workers: Workers = 1,
    quiet: Quiet = False,
) -> None:
    """Render phantom chest CT with reports and known truth: images/, scans.csv, reports.csv, truth/."""
    from .runner import interruptible, make_executor, make_progress  # noqa: PLC0415
    from .stages.phantom import render_dataset  # noqa: PLC0415
    from .stages.run import Run  # noqa: PLC0415
    from .workflow_file import load_workflow  # noqa: PLC0415

    workflow = load_workflow("phantom", [f"phantom.{setting}" for setting in settings])
    assert workflow.phantom is not None
    folder = out.absolute()
    with (
        stoppable(),
        interruptible(),
        make_executor("processes" if workers > 1 else "serial", workers) as pool,
        make_progress(err_console, quiet=quiet) as bar,
    ):
        render_dataset(Run(workflow, folder, pool, bar), workflow.phantom, folder)
    out_console.print(f"{folder / 'scans.csv'}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def check(
    workflow: Annotated[str, typer.Argument(help="A workflow file, or the name of a shipped one.")],
    settings: Set = [],  # noqa: B006
) -> None:
    """Check a workflow and its data before hours of computing: what is there, what is missing, what it will take."""
    from .check import check_workflow  # noqa: PLC0415
    from .workflow_file import load_workflow  # noqa: PLC0415

    findings = check_workflow(load_workflow(workflow, settings))
    table = Table("", "what", "found", title=f"Check of {escape(workflow)}", title_justify="left")
    for finding in findings:
        table.add_row("ok" if finding.ok else "PROBLEM", escape(finding.what), escape(finding.found))
    out_console.print(table)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


@app.command()
def rexgrounding(
    cases: Annotated[Path, typer.Argument(help="The JSON of ReXGroundingCT's findings.")],
    masks: Annotated[Path, typer.Option(help="Folder of its masks.")],
    images: Annotated[Path, typer.Option(help="Folder of the CT-RATE volumes.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where lesions.csv and masks/ go.")],
    workers: Workers = 1,
    quiet: Quiet = False,
) -> None:
    """Turn ReXGroundingCT's masks into known lesions: a table for data.lesions."""
    from .runner import interruptible, make_executor, make_progress  # noqa: PLC0415
    from .stages.rexgrounding import convert_rexgrounding  # noqa: PLC0415

    with (
        stoppable(),
        interruptible(),
        make_executor("processes" if workers > 1 else "serial", workers) as pool,
        make_progress(err_console, quiet=quiet) as bar,
    ):
        result = convert_rexgrounding(cases, masks, images.absolute(), out.absolute(), pool, bar)
    for failure in result.failed:
        err_console.print(f"{failure.id}: {failure.reason}", markup=False, highlight=False, soft_wrap=True)
    out_console.print(f"{out / 'lesions.csv'}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(3 if result.failed else 0)


@app.command()
def plan(
    workflow: Annotated[str, typer.Argument(help="A workflow file, or the name of a shipped one.")],
    settings: Set = [],  # noqa: B006
    scans: Annotated[
        int | None, typer.Option(min=1, help="Scans of the data set; default those that are there.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Scans that are measured.")] = 2,
    workers: Workers = 1,
    json_output: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    quiet: Quiet = False,
) -> None:
    """Measure a few scans and tell hours, memory and disk of each stage of a whole run."""
    from .estimate import estimate_run  # noqa: PLC0415
    from .workflow_file import load_workflow  # noqa: PLC0415

    tell = None if quiet else lambda line: err_console.print(line, markup=False, highlight=False)
    with stoppable():
        costs = estimate_run(load_workflow(workflow, settings), scans, sample, tell)
    print_costs(costs, workers, as_json=json_output)


@app.command()
def describe(
    topic: Annotated[
        str, typer.Argument(help="settings, plugins, labels, stages, workflows, or a folder or CSV of scans.")
    ],
    json_output: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """List what a workflow can hold (settings, plugins, labels, stages, workflows), or what a data set holds."""
    import json  # noqa: PLC0415

    from .describe import TOPICS, describe_topic  # noqa: PLC0415

    if topic not in TOPICS and Path(topic).exists():
        from .inventory import describe_data  # noqa: PLC0415

        rows = describe_data(Path(topic))
    else:
        rows = describe_topic(topic)
    if json_output:
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(escape(str(value)) for value in row.values()))
    out_console.print(table)


@app.command()
def audit(
    model: Annotated[Path, typer.Argument(help="Run directory, its models/NAME, or a trusted bundle.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the audit; default audit/ of the run or bundle.")
    ] = None,
    scans: Annotated[
        list[Path] | None, typer.Option(help="Volumes, one folder, or a CSV; default the run's test scans. Repeatable.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV of scan_id and 0/1 labels; default the run's.")] = None,
    organs: Annotated[Path | None, typer.Option(help="Folder of <id>_organs.nii.gz; default segmented anew.")] = None,
    inserted: Annotated[
        list[str] | None, typer.Option("--insert", help="What to put in: nodule:8mm, effusion, token; repeatable.")
    ] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="At most this many scans.")] = 40,
    weights: Annotated[Path | None, typer.Option(help="Of a bundle: state dictionary or TorchScript.")] = None,
    layer: Annotated[str | None, typer.Option(help="Layer to explain; default the network's own.")] = None,
    quiet: Quiet = False,
) -> None:
    """Ask whether a model uses the organ or a shortcut, by putting things into scans and taking organs away."""
    from .console import print_audit  # noqa: PLC0415

    options = {"labels": labels, "organs": organs, "inserted": inserted, "most": most}
    with stoppable():
        code = print_audit(model, weights, layer, scans or [], out, options, quiet)
    raise typer.Exit(code)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run directories that have been evaluated.")],
) -> None:
    """Print the results of several runs side by side."""
    print_results(runs)


@app.command()
def overlay(
    bundle: Annotated[Path, typer.Option("--bundle", "-b", help="Folder of a MONAI bundle that you trust.")],
    config: Annotated[str | None, typer.Option(help="One of its configurations; default inference, if any.")] = None,
    layer: Annotated[str | None, typer.Option(help="Layer to explain; default the first of those it prints.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write the lines to this YAML file.")] = None,
) -> None:
    """Print the three lines that make a MONAI bundle write attention maps, and its layers that give maps."""
    from .bundles.command import print_overlay  # noqa: PLC0415

    print_overlay(bundle, config, layer, out)


@app.command("export-bundle")
def export_bundle_command(
    run_directory: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory with a trained model.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle; must not be there yet.")],
    model: Annotated[str | None, typer.Option(help="Which model; default the only one, or masked.")] = None,
) -> None:
    """Write a trained model as a MONAI bundle that gives scores and attention maps."""
    from .bundles.export import export_bundle  # noqa: PLC0415

    folder = export_bundle(run_directory, out, model)
    out_console.print(f"{folder}", markup=False, highlight=False, soft_wrap=True)


def _images(scans: list[Path]) -> dict[str, Any]:
    return {"images": [str(path) for path in scans] if len(scans) > 1 else str(scans[0])}


def _with_section(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options of a command as a section of a workflow, nothing where none is given."""
    return {name: options} if options else {}


def _workflow(document: dict[str, Any], settings: list[str], wanted: dict[str, Any] | None = None) -> Any:
    from .workflow_file import apply_overrides, parse_workflow  # noqa: PLC0415

    return parse_workflow(apply_overrides({**document, **(wanted or {})}, settings), "command line")


def _workflow_of(out: Path, workflow: str | None, settings: list[str], wanted: dict[str, Any] | None = None) -> Any:
    """The workflow of a run directory or file, with a command's own options and the settings over it."""
    import json  # noqa: PLC0415

    from .workflow_file import load_workflow  # noqa: PLC0415

    source = workflow or str(out / "workflow.yaml")
    if workflow is None and not Path(source).is_file():
        msg = f"{out} is no run directory yet (no workflow.yaml): give --workflow"
        raise ConfigError(msg)
    own = [f"{part}.{key}={json.dumps(value)}" for part, keys in (wanted or {}).items() for key, value in keys.items()]
    return load_workflow(source, [*own, *settings])


@contextmanager
def _shown_after(show: Callable[[], None], quiet: bool) -> Iterator[None]:
    """Show something once the stages inside have come to their end, with failures or without."""
    try:
        yield
    except typer.Exit as end:
        if end.exit_code in (0, 3) and not quiet:
            show()
        raise


def _run(
    workflow: Any,
    out: Path,
    stages: list[str] | tuple[str, ...],
    workers: int,
    executor: str,
    shard: str | None,
    quiet: bool,
    scheduler: str | None = None,
) -> NoReturn:
    from .runner.processors import limit_threads  # noqa: PLC0415

    limit_threads()
    from .runner import make_progress, parse_shard, torchrun_launch  # noqa: PLC0415
    from .stages.workflow import run_workflow  # noqa: PLC0415

    launch = torchrun_launch() if "train" in stages else None
    if launch is not None and stages[0] != "train":
        msg = "torchrun is for training: run the stages before it alone, then start with `train` or `run --from train`"
        raise ConfigError(msg)
    if launch is not None and launch.rank:
        configure_logging(quiet=True)
        _follow(workflow, launch)
    configure_logging(quiet)
    with stoppable():
        outcome = run_workflow(
            workflow,
            out,
            stages=stages,
            executor=executor,
            workers=workers,
            scheduler=scheduler,
            shard=parse_shard(shard) if shard else None,
            progress=make_progress(err_console, quiet=quiet),
            command=sys.argv,
            tell=None if quiet else show_stage,
        )
    show_outcome(out, outcome, stages)
    raise typer.Exit(outcome.exit_code)


def _follow(workflow: Any, launch: Any) -> NoReturn:
    """Every process of torchrun but the first."""
    from .stages.candidate_training import follow_training  # noqa: PLC0415

    with stoppable():
        follow_training(workflow, launch)
    raise typer.Exit
