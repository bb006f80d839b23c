"""How the work gets done: units with content-hash sidecars, atomic files, executors, shards, resume.

The state of a run is in its files alone. A unit of work (one scan in one stage) is a plain function; its outputs take
their place whole, its sidecar last, and a unit whose sidecar has the right key is not done again.
"""

from .atomic import atomic_path, clean_temporary, write_csv_atomic, write_json_atomic, write_text_atomic
from .directory import RunDirectory
from .disk import require_free_space
from .executors import Executor, Lost, SerialExecutor, executor_names, make_executor
from .failures import read_failures, write_failures
from .fingerprints import FingerprintCache, fingerprint_file, fingerprint_files, fingerprint_value, unit_key
from .identifiers import check_unique, safe_id
from .progress import Progress, SilentProgress, make_progress
from .shards import Shard, parse_shard
from .sidecars import read_sidecar
from .signals import Interrupted, interruptible
from .stage import StageResult, run_stage
from .unit import Failure, FailureKind, StageSpec, Unit, WorkContext

__all__ = [
    "Executor",
    "Failure",
    "FailureKind",
    "FingerprintCache",
    "Interrupted",
    "Lost",
    "Progress",
    "RunDirectory",
    "SerialExecutor",
    "Shard",
    "SilentProgress",
    "StageResult",
    "StageSpec",
    "Unit",
    "WorkContext",
    "atomic_path",
    "check_unique",
    "clean_temporary",
    "executor_names",
    "fingerprint_file",
    "fingerprint_files",
    "fingerprint_value",
    "interruptible",
    "make_executor",
    "make_progress",
    "parse_shard",
    "read_failures",
    "read_sidecar",
    "require_free_space",
    "run_stage",
    "safe_id",
    "unit_key",
    "write_csv_atomic",
    "write_failures",
    "write_json_atomic",
    "write_text_atomic",
]
