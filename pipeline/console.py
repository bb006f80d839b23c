"""What a command shows on the terminal, and how it ends: one message and an exit code, whatever went wrong."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .errors import ConfigError, OrganCamError

if TYPE_CHECKING:
    from .config import Workflow
    from .estimate import Cost
    from .stages.run import StageSummary
    from .stages.workflow import Outcome

__all__ = [
    "configure_logging",
    "end_of",
    "err_console",
    "out_console",
    "print_audit",
    "print_checks",
    "print_costs",
    "print_findings",
    "print_given_maps",
    "print_lesions",
    "print_organs",
    "print_results",
    "show_outcome",
    "show_stage",
    "stoppable",
]

SHOWN_FAILURES = 5


def _is_terminal(stream: object) -> bool:
    return getattr(stream, "isatty", lambda: False)()  # a closed stream is None


out_console = Console(width=None if _is_terminal(sys.stdout) else 120)
err_console = Console(stderr=True)


def end_of(command: Callable[[], object]) -> NoReturn:
    """Run a command to its end; every foreseen error is one message and an exit code, never a traceback.

    What the system refuses (no permission, a folder in place of a file, a full or read-only disk, no memory) is caught
    here once, so that no command needs to. Other exceptions are mistakes of ours and keep their traceback.
    """
    _replace_unprintable()
    try:
        command()
        code = 0
    except SystemExit as end:  # of typer
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except OrganCamError as error:
        code = _tell(str(error), error.exit_code)
    except BrokenPipeError:  # the reader of a pipe has gone
        code = 0
    except OSError as error:
        code = _tell(_sentence(error), 1)
    except MemoryError:
        code = _tell("out of memory", 1)
    sys.exit(_flushed(code))


def _tell(message: str, code: int) -> int:
    err_console.print(f"error: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    return code


def _sentence(error: OSError) -> str:
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    return f"{error.filename}: {reason}" if error.filename else reason


def _replace_unprintable() -> None:
    """Names of files and reports hold characters that not every terminal can show."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _flushed(code: int) -> int:
    """The exit code once everything printed has left; what cannot be printed is told, if anybody listens."""
    if sys.stdout is None:
        return code
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries again on its way out
        if not isinstance(error, BrokenPipeError):
            return _tell(f"cannot print: {_sentence(error)}", 1)
    return code


@contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM become one line and exit code 130 or 143; typer would say "Aborted!" and 1."""
    from .runner import Interrupted  # noqa: PLC0415

    try:
        yield
    except Interrupted as stopped:
        err_console.print(str(stopped), markup=False, highlight=False)
        raise typer.Exit(stopped.exit_code) from None


def show_stage(summary: StageSummary, seconds: float) -> None:
    """The line of a finished stage."""
    failed = f", {len(summary.failures)} failed" if summary.failures else ""
    err_console.print(
        f"{summary.stage:<9} {summary.done} done, {summary.skipped} up to date{failed}  ({seconds:.1f} s)",
        highlight=False,
    )
    for note in summary.notes:
        err_console.print(f"          {note}", markup=False, highlight=False, soft_wrap=True)


def show_outcome(out: Path, outcome: Outcome, stages: Sequence[str]) -> None:
    """The first failures of a run, its results and where its page lies."""
    failures = [failure for summary in outcome.summaries for failure in summary.failures]
    for failure in failures[:SHOWN_FAILURES]:
        err_console.print(f"{failure.stage}: {failure.id}: {failure.reason}", markup=False, soft_wrap=True)
    if len(failures) > SHOWN_FAILURES:
        err_console.print(f"... and {len(failures) - SHOWN_FAILURES} more in {out / 'failures.csv'}", markup=False)
    summary = out / "evaluation" / "summary.json"
    if "evaluate" in stages and summary.is_file():
        print_results([out])
    page = out / "report" / "index.html"
    if "report" in stages and page.is_file():
        out_console.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)


def print_results(runs: Sequence[Path]) -> None:
    """The result tables of evaluated runs."""
    from .compare import interventions_table, ladder_sentences, results_table  # noqa: PLC0415

    out_console.print(results_table(runs))
    moved = interventions_table(runs)
    if moved is not None:
        out_console.print(moved)
    for sentence in ladder_sentences(runs):
        out_console.print(sentence, markup=False, highlight=False)


def print_findings(text: str, vocabulary: str, html: Path | None) -> int:
    """Show what one report says; the exit code is that of a table with this report alone."""
    from organcam.nlp import ReportParser, render_html  # noqa: PLC0415

    from .runner import write_text_atomic  # noqa: PLC0415

    if not text.strip():
        msg = "--text is empty: give the words of a report"
        raise ConfigError(msg)
    table = Table(box=None)
    for column in ("abnormality", "location", "status", "words", "cue", "rule"):
        table.add_column(column, no_wrap=column in {"abnormality", "location", "status"}, overflow="fold")
    parsed = ReportParser(vocabulary=vocabulary).parse(text)
    for finding in parsed.findings:
        words = text[finding.start : finding.end]
        row = (finding.abnormality, finding.location, finding.status, words, finding.cue or "", finding.rule)
        table.add_row(*map(escape, row))
    if parsed.findings:
        out_console.print(table)
    else:
        out_console.print("no findings")
    if html is not None:
        write_text_atomic(html, render_html(parsed))
    if parsed.reason:
        err_console.print(f"parse: {parsed.reason}", markup=False, highlight=False, soft_wrap=True)
    return 3 if parsed.reason else 0


def print_organs(out: Path) -> None:
    """Volumes and flags of every scan that was segmented, and where the masks are."""
    from .stages.segment import organs_in_words  # noqa: PLC0415

    for line in organs_in_words(out):
        out_console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_lesions(workflow: Workflow, out: Path) -> None:
    """How much of the known lesions of each label lies in its allowed cells."""
    from .stages.lesion_cells import lesions_in_cells  # noqa: PLC0415

    table = lesions_in_cells(workflow, out)
    if table.empty:
        out_console.print("no scan with known lesions has regions", highlight=False)
    for row in table.itertuples():
        among = f"{row.scans} {'scan' if row.scans == 1 else 'scans'}, least {row.worst:.1%} in {row.worst_scan}"
        line = f"{row.label:<32} {row.mean:6.1%} of the lesions in allowed cells ({among})"
        out_console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_costs(costs: Sequence[Cost], workers: int, *, as_json: bool) -> None:
    """What each stage of a run takes, and all of them."""
    import json  # noqa: PLC0415
    import shutil  # noqa: PLC0415
    from dataclasses import asdict  # noqa: PLC0415

    if as_json:
        typer.echo(json.dumps([{**asdict(cost), "hours": cost.hours(workers)} for cost in costs], indent=1))
        return
    table = Table("stage", "units", "seconds each", f"hours, {workers} workers", "GB of memory each", "GB on disk")
    for cost in costs:
        table.add_row(
            cost.stage,
            f"{cost.units:,}",
            f"{cost.seconds:.3g}",
            f"{cost.hours(workers):.3g}",
            f"{cost.memory_gb:.2g}",
            f"{cost.disk_gb:.3g}",
        )
    hours, disk = sum(cost.hours(workers) for cost in costs), sum(cost.disk_gb for cost in costs)
    table.add_row("together", "", "", f"{hours:.3g}", "", f"{disk:.3g}")
    out_console.print(table)
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    out_console.print(
        f"{free:.3g} GB are free on this folder's disk; units of train are scans in all epochs", highlight=False
    )


def print_checks(workflow: Workflow, out: Path) -> int:
    """Whether the maps of a run's models say what the models did; 1 where something that must hold does not."""
    from .stages.verify import verify_run  # noqa: PLC0415

    checks = verify_run(workflow, out)
    title = "Do the maps say what the models did"
    table = Table("model", "check", "of", "value", "", title=title, title_justify="left")
    for check in checks:
        verdict = "" if check.holds is None else "holds" if check.holds else "DOES NOT HOLD"
        table.add_row(escape(check.model), check.check, escape(check.subject), f"{check.value:.2g}", verdict)
    out_console.print(table)
    return int(any(check.holds is False for check in checks))


def print_given_maps(
    maps: Path, masks: Sequence[Path], labels: Path, out: Path, options: dict[str, Any], quiet: bool
) -> int:
    """Judge maps of another program and show the published tables; 3 if some scans could not be judged."""
    from .stages.given_maps import evaluate_given_maps  # noqa: PLC0415

    found, failures = evaluate_given_maps(maps, masks, labels, out, **options)
    for name, title in (("table1", "By model, %"), ("table2", "By concept group, OrganIoU in %")):
        if name in found.tables and not quiet:
            rows = found.tables[name]
            table = Table(*(escape(str(column)) for column in rows.columns), title=title, title_justify="left")
            for values in rows.itertuples(index=False):
                cells = [f"{value:.1f}" if isinstance(value, float) else str(value) for value in values]
                table.add_row(*(escape("" if cell == "nan" else cell) for cell in cells))
            out_console.print(table)
    for note in found.notes:
        err_console.print(note, markup=False, highlight=False, soft_wrap=True)
    for failure in failures[:SHOWN_FAILURES]:
        err_console.print(f"{failure.id}: {failure.reason}", markup=False, highlight=False, soft_wrap=True)
    if len(failures) > SHOWN_FAILURES:
        err_console.print(f"... and {len(failures) - SHOWN_FAILURES} more in {out / 'failures.csv'}", markup=False)
    out_console.print(f"{out}: {', '.join(found.tables)}", markup=False, highlight=False, soft_wrap=True)
    return 3 if failures else 0


def print_audit(
    model: Path,
    weights: Path | None,
    layer: str | None,
    scans: Sequence[Path],
    out: Path | None,
    options: dict[str, Any],
    quiet: bool,
) -> int:
    """Audit a model and show the verdict on each label; 3 if some scans could not be used."""
    from .audit.kinds import KINDS, parse_wish  # noqa: PLC0415
    from .data.discover import find_scans  # noqa: PLC0415

    wishes = [parse_wish(text) for text in options["inserted"] or KINDS]
    from .bundles.export import choose_model  # noqa: PLC0415
    from .bundles.models import open_model  # noqa: PLC0415
    from .runner import fingerprint_file  # noqa: PLC0415
    from .stages.audit import audit_scans, labels_of_run, labels_of_table, scans_of_run  # noqa: PLC0415

    root = model.parent.parent if model.parent.name == "models" else model
    is_run = (root / "manifest.csv").is_file()
    if not scans and not is_run:
        msg = f"{model} is no run directory: give --scans"
        raise ConfigError(msg)
    found = (find_scans(scans[0]) if len(scans) == 1 else find_scans(list(scans))) if scans else scans_of_run(root)
    known = labels_of_run(root) if is_run and not scans else None
    if options["labels"] is not None:
        known = labels_of_table(options["labels"])
    organs = options["organs"] or (root / "organs" if is_run and not scans else None)
    usable = open_model(model, weights, layer)
    name = choose_model(root, None) if is_run and model == root else model.name
    folder = out or (root / "audit" / name if is_run else model / "audit")
    weights_file = root / "models" / name / "model.pt" if is_run else weights or model / "models" / "model.pt"
    tables, failures = audit_scans(
        usable,
        found[: options["most"]],
        folder,
        wishes,
        name=name,
        organs=organs,
        labels=known,
        content=fingerprint_file(weights_file) if weights_file.is_file() else "",
        tell=(lambda _: None) if quiet else lambda text: err_console.print(text, markup=False, highlight=False),
    )
    table = Table("label", "verdict", "full", "only", "without", "in organs", title="Audit", title_justify="left")
    columns = ("auroc_full", "auroc_only", "auroc_without", "evidence_in_organs")
    for row in tables.labels.to_dict("records"):
        cells = ["" if row[name] != row[name] else f"{row[name]:.2f}" for name in columns]
        table.add_row(escape(row["label"]), escape(row["verdict"]), *cells)
    if not quiet:
        out_console.print(table)
    for failure in failures[:SHOWN_FAILURES]:
        err_console.print(f"{failure.id}: {failure.reason}", markup=False, highlight=False, soft_wrap=True)
    out_console.print(f"{folder}: audit.csv, audit.json, pictures", markup=False, highlight=False, soft_wrap=True)
    return 3 if failures else 0


class _ConsoleHandler(logging.Handler):
    """Log lines above the progress bar, one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        err_console.print(self.format(record), markup=False, highlight=False, soft_wrap=True)


def configure_logging(quiet: bool) -> None:
    """Send the project's log lines to the terminal; none but warnings when quiet."""
    # MONAI's import warns about torch internals, which a user can do nothing about
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(monai|torch|ignite)\.?.*")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(monai|torch|ignite)\.?.*")
    logger = logging.getLogger("organcam")
    logger.handlers[:] = [_ConsoleHandler()]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False
