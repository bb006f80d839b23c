"""One stage in a run directory, as a process that tests can kill: ROOT EXECUTOR COUNT FIRST_LATE [SHARD]."""

from __future__ import annotations

import sys
from pathlib import Path

from runner_work import gated_square, number_units, square_stage

from organcam.errors import OrganCamError
from organcam.runner import Interrupted, RunDirectory, interruptible, make_executor, parse_shard, run_stage


class Teller:
    """Progress for the test at the other end of the pipe."""

    def advance(self, stage, done, total, failed):
        print(done, flush=True)


def main(root: str, executor: str, count: str, first_late: str, shard: str = "1/1") -> int:
    folder, part = Path(root), parse_shard(shard) if shard != "1/1" else None
    with interruptible(), RunDirectory(folder / "out", shard=part) as run, make_executor(executor, 2) as workers:
        units = number_units(folder, int(count), int(first_late))
        result = run_stage(
            square_stage(folder, gated_square), units, workers, shard=part, progress=Teller(), logs=run.logs
        )
        run.record(result)
        print("counts", *result.counts.values(), flush=True)
    return 3 if result.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except Interrupted as interrupted:
        sys.exit(interrupted.exit_code)
    except OrganCamError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
