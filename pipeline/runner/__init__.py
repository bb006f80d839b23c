"""How the work gets done: units with content-hash sidecars, atomic files, executors, shards, resume.

The state of a run is in its files alone. A unit of work (one scan in one stage) is a plain function; its outputs take
their place whole, its sidecar last, and a unit whose sidecar has the right key is not done again.
"""

from .atomic import (
    atomic_path,
    clean_temporary,
    plain_json,
    to_json,
    write_csv_atomic,
    write_json_atomic,
    write_text_atomic,
)
from .directory import RunDirectory
from .disk import explained_when_full, require_free_space
from .executors import Executor, SerialExecutor, executor_names, make_executor
from .failures import read_failures, write_failures
from .fingerprints import (
    FingerprintCache,
    fingerprint_file,
    fingerprint_files,
    fingerprint_path,
    fingerprint_value,
    unit_key,
)
from .identifiers import check_unique, safe_id
from .integrity import DamagedFilesError, find_damaged, is_damaged, require_whole
from .items import Lost
from .launch import Launch, torchrun_launch
from .plan import StagePlan, UnitState, unit_state
from .progress import Progress, SilentProgress, make_progress
from .shards import Shard, parse_shard
from .sidecars import output_hash, read_sidecar, retire, retire_others
from .signals import Interrupted, held_back, interruptible, stop_asked
from .stage import StageResult, run_stage, run_stages
from .unit import Failure, FailureKind, StageSpec, Unit, WorkContext

__all__ = [
    "DamagedFilesError",
    "Executor",
    "Failure",
    "FailureKind",
    "FingerprintCache",
    "Interrupted",
    "Launch",
    "Lost",
    "Progress",
    "RunDirectory",
    "SerialExecutor",
    "Shard",
    "SilentProgress",
    "StagePlan",
    "StageResult",
    "StageSpec",
    "Unit",
    "UnitState",
    "WorkContext",
    "atomic_path",
    "check_unique",
    "clean_temporary",
    "executor_names",
    "explained_when_full",
    "find_damaged",
    "fingerprint_file",
    "fingerprint_files",
    "fingerprint_path",
    "fingerprint_value",
    "held_back",
    "interruptible",
    "is_damaged",
    "make_executor",
    "make_progress",
    "output_hash",
    "parse_shard",
    "plain_json",
    "read_failures",
    "read_sidecar",
    "require_free_space",
    "require_whole",
    "retire",
    "retire_others",
    "run_stage",
    "run_stages",
    "safe_id",
    "stop_asked",
    "to_json",
    "torchrun_launch",
    "unit_key",
    "unit_state",
    "write_csv_atomic",
    "write_failures",
    "write_json_atomic",
    "write_text_atomic",
]
