"""Units on a Dask cluster: one that runs already, or one of this machine's own.

Dask spreads the units and copes with workers that come, go and die. It cannot end a task that hangs, nor outlive one
that brings down its process; so each thread of a Dask worker keeps a process of its own for the units
(`ProcessExecutor`), with the same limits on time, memory and threads as on one machine. State is in the sidecars alone:
a unit that Dask did twice has written the same files twice.
"""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, OrganCamError
from ..version import __version__
from .items import Item, Lost, Result
from .memory import default_limit
from .processes import ProcessExecutor, without_ctrl_c
from .signals import held_back

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["LOCAL", "DaskExecutor"]

LOCAL = "local"
AHEAD = 2
"""Units handed out for each thread of the workers: one at work and one on its way."""
CONNECT_SECONDS = 30.0
JOIN_SECONDS = 300.0
"""How long the first worker may take to join: clusters start machines for it."""
LOST_SECONDS = 60.0
"""How long a scheduler may be out of reach before it counts as gone."""
OTHERS_SECONDS = 10.0
"""How long to wait for the others before going on without them; they take part when they come."""
COUNT_SECONDS = 2.0
POLL = 0.2
GIGABYTE = 10**9

logger = logging.getLogger(__name__)
_own = threading.local()
_everyone: list[ProcessExecutor] = []


class DaskExecutor:
    """The workers of a Dask scheduler.

    Args:
        workers: of ``local`` their number; of a cluster how many are hoped for: with fewer it goes on, and says so.
        scheduler: ``local``, or the address of a running one (``tcp://host:8786``, ``tls://...``).
        memory_gb: gigabytes that a unit may take; None for one and a half times its share of the worker's machine.
        join_seconds: how long to wait for the first worker.

    Raises:
        ConfigError: if the address is none, or Dask is not installed.
    """

    name = "dask"

    def __init__(
        self,
        workers: int,
        scheduler: str | None = None,
        memory_gb: float | None = None,
        join_seconds: float = JOIN_SECONDS,
    ) -> None:
        scheduler = scheduler or LOCAL
        if scheduler != LOCAL and "://" not in scheduler:
            msg = f"scheduler: '{scheduler[:80]}' is no address; legal are {LOCAL}, or tcp://HOST:PORT of a running one"
            raise ConfigError(msg)
        try:
            import distributed  # noqa: F401, PLC0415 - an extra
        except ImportError:
            msg = "the executor dask needs the extra of that name: pip install 'organcam[dask]'"
            raise ConfigError(msg) from None
        self.workers = workers
        self.scheduler = scheduler
        self._memory_gb = memory_gb
        self._join_seconds = join_seconds
        self._client: Client | None = None
        self._cluster: Any = None

    def run(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, timeout: float | None = None
    ) -> Generator[tuple[Item, Result | Lost], None, None]:
        """See ``Executor.run``.

        Raises:
            OrganCamError: if the scheduler cannot be reached, no worker joins it, or it is lost on the way.
        """
        client = self._connected()
        waiting, ended = iter(items), SimpleQueue[Any]()
        busy: dict[Any, tuple[Future, Item]] = {}
        seen = counted = time.monotonic()
        threads = _threads(client)
        try:
            while True:
                with held_back():
                    if time.monotonic() - counted > COUNT_SECONDS:  # workers come and go
                        threads, counted = _threads(client) or threads, time.monotonic()
                    room = AHEAD * max(1, threads) - len(busy)
                    for item in islice(waiting, max(room, 0)):
                        future = client.submit(_run_item, function, item, timeout, self._memory_gb, pure=False)
                        busy[future.key] = (future, item)
                        future.add_done_callback(ended.put)
                    if not busy:
                        return
                    done = _next(ended)
                    seen = self._require_scheduler(client, seen)
                if done is not None and done.key in busy:
                    future, item = busy.pop(done.key)
                    with held_back():
                        result = self._result(future)
                        future.release()
                    yield item, result
        finally:
            if busy:
                with held_back(), suppress(Exception):
                    client.cancel([future for future, _ in busy.values()], force=True)
                    client.run(_end_own, on_error="ignore")

    def __enter__(self) -> DaskExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        with held_back(), suppress(Exception):  # what is lost already need not be told again
            if self._client is not None:
                self._client.close(timeout=POLL)
            if self._cluster is not None:
                self._cluster.close(timeout=CONNECT_SECONDS)
        self._client = self._cluster = None

    def _connected(self) -> Client:
        if self._client is not None:
            return self._client
        with held_back():
            client = self._connect()
        self._wait_for_workers(client)
        with held_back():
            self._require_same_version(client)
        return client

    def _connect(self) -> Client:
        from distributed import Client, LocalCluster  # noqa: PLC0415

        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what becomes of workers is told here
        address = self.scheduler
        try:
            if address == LOCAL:
                with without_ctrl_c():
                    self._cluster = LocalCluster(
                        n_workers=self.workers,
                        threads_per_worker=1,
                        memory_limit=0,  # each unit has a limit of its own
                        dashboard_address=":0",
                        silence_logs=logging.CRITICAL,
                    )
                address = self._cluster.scheduler_address
            client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, RuntimeError) as error:
            msg = f"the Dask scheduler {self.scheduler} cannot be reached: {str(error).splitlines()[0][:200]}"
            raise OrganCamError(msg) from None
        self._client = client
        return client

    def _wait_for_workers(self, client: Client) -> None:
        """Return as soon as all that were asked for have joined; the first one may take longer than the others.

        Raises:
            OrganCamError: if none joins.
        """
        started = time.monotonic()
        while True:
            with held_back():
                threads, waited = _threads(client), time.monotonic() - started
            if threads >= self.workers or (threads and waited > min(OTHERS_SECONDS, self._join_seconds)):
                break
            if waited > self._join_seconds:
                msg = f"no worker joined the Dask scheduler {self.scheduler} within {self._join_seconds:g} s"
                raise OrganCamError(msg)
            time.sleep(POLL)
        if threads < self.workers:
            told = "%d of %d workers asked for have joined the Dask scheduler %s; going on with them"
            logger.warning(told, threads, self.workers, self.scheduler)

    def _require_same_version(self, client: Client) -> None:
        """Refuse workers that would write other files than this process."""
        for worker, found in client.run(_about, on_error="return").items():
            if found != _about():
                there = found if isinstance(found, str) else f"no organcam ({type(found).__name__})"
                msg = f"the Dask worker {worker} has {there}, this process {_about()}: install the same on both"
                raise OrganCamError(msg)

    def _require_scheduler(self, client: Client, seen: float) -> float:
        """When the scheduler was last in touch.

        Raises:
            OrganCamError: if that is too long ago.
        """
        if client.status == "running" and client.scheduler is not None and not client.scheduler_comm.closed():
            return time.monotonic()
        if client.status == "closed" or time.monotonic() - seen > LOST_SECONDS:
            msg = f"the Dask scheduler {self.scheduler} is gone; start the same command again, what is done stays done"
            raise OrganCamError(msg)
        return seen

    def _result(self, future: Future) -> Any:
        from distributed import KilledWorker  # noqa: PLC0415

        try:
            return future.result(timeout=CONNECT_SECONDS)
        except KilledWorker as error:
            return Lost("crash", f"its Dask workers died, the last was {error.last_worker.address}")
        except OrganCamError:
            raise
        except Exception as error:
            if future.cancelled():  # the scheduler forgot it
                msg = f"the Dask scheduler {self.scheduler} is gone; start the same command again, what is done stays"
                raise OrganCamError(msg) from None
            return Lost("crash", f"Dask could not run it ({type(error).__name__})")


def _next(ended: SimpleQueue[Any]) -> Any:
    try:
        return ended.get(timeout=POLL)
    except Empty:
        return None


def _threads(client: Client) -> int:
    """Threads of all workers; 0 while the scheduler cannot be asked."""
    try:
        return sum(client.nthreads().values())
    except (OSError, RuntimeError, TimeoutError, ValueError):
        return 0


def _about() -> str:
    import platform  # noqa: PLC0415

    return f"organcam {__version__}, Python {'.'.join(platform.python_version_tuple()[:2])}"


def _run_item(function: Callable[[Item], Result], item: Item, timeout: float | None, memory_gb: float | None) -> Any:
    """On a Dask worker: the item in the process that this thread keeps for them."""
    executor: ProcessExecutor | None = getattr(_own, "executor", None)
    if executor is None:
        # Dask's workers are daemons, which multiprocessing forbids to have children. Ours end with their parent.
        multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
        executor = _own.executor = ProcessExecutor(1, memory_gb if memory_gb is not None else _share())
        _everyone.append(executor)
    ((_, result),) = executor.run(function, [item], timeout=timeout)
    return result


def _share() -> float | None:
    """Gigabytes for each thread of this worker's machine, where the machine is its alone."""
    from distributed import get_worker  # noqa: PLC0415

    most = default_limit(max(1, get_worker().state.nthreads))
    return None if most is None else most / GIGABYTE


def _end_own() -> None:
    """On a Dask worker: end the processes that are at work for a run that was given up."""
    for executor in _everyone:
        executor.__exit__()
