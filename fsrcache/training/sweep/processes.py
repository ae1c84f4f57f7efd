"""Trains the runs of a sweep in several processes, each of which opens the features and is sent run after run."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from fsrcache.device import keep_freed_memory
from fsrcache.errors import FsrcacheError
from fsrcache.extractors.opening import open_extractor
from fsrcache.progress import Progress
from fsrcache.store.reader import FeatureStore
from fsrcache.training.sweep.plan import SweepRun
from fsrcache.training.sweep.runs import Outcome, RunOptions, RunProgress, train_runs
from fsrcache.workspace import ExtractorSource


def train_in_processes(
    runs: Sequence[SweepRun],
    store: FeatureStore,
    extractor: ExtractorSource,
    options: RunOptions,
    on_progress: RunProgress,
    *,
    jobs: int,
    threads: int,
) -> Iterator[Outcome]:
    """Train runs as ``train_runs`` does, several at once; where this ends early, so do they.

    Parameters
    ----------
    runs, store, extractor, options, on_progress
        As for ``train_runs``; the extractor is opened by every process.
    jobs
        Number of processes.
    threads
        Number of threads of each.

    Raises
    ------
    FsrcacheError
        If a process ends before its run does, such as one killed for its memory.
    """
    context, waiting = get_context("spawn"), iter(runs)
    processes: dict[Connection, BaseProcess] = {}
    under_way: dict[Connection, SweepRun | None] = {}

    def send_next(connection: Connection) -> None:
        """Send the next run, or None; whether the process is still there is seen when it is listened to."""
        under_way[connection] = run = next(waiting, None)
        with suppress(ConnectionError):
            connection.send(run)

    try:
        for _ in range(min(jobs, len(runs))):
            ours, theirs = context.Pipe()
            processes[ours] = context.Process(
                target=_train_sent, args=(theirs, store, extractor, options, threads), daemon=True
            )
            processes[ours].start()
            theirs.close()
            send_next(ours)
        while processes:
            for connection in wait(list(processes)):
                assert isinstance(connection, Connection)
                try:
                    run, sent = connection.recv()
                except (EOFError, ConnectionError):  # the latter of one that left unread what it was sent
                    _join(processes.pop(connection), under_way[connection])
                    continue
                if isinstance(sent, Progress):
                    on_progress(run, sent)
                    continue
                send_next(connection)
                yield run, sent
    finally:
        for process in processes.values():
            process.terminate()
            process.join()


def _join(process: BaseProcess, run: SweepRun | None) -> None:
    process.join()
    if run is not None:
        raise FsrcacheError(
            f"A process of the sweep ended with the exit code {process.exitcode} before its run {run.name} did.",
            "Run the same command again to go on, with fewer jobs if the memory was short.",
        )


def _train_sent(
    connection: Connection, store: FeatureStore, extractor: ExtractorSource, options: RunOptions, threads: int
) -> None:
    """Train the runs that a connection brings, and send back what there is to say of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started this one ends it
    torch.set_num_threads(threads)
    keep_freed_memory()
    with suppress(EOFError, ConnectionError):  # that one is gone
        runs = iter(connection.recv, None)
        outcomes = train_runs(
            runs, store, open_extractor(extractor), options, lambda run, progress: connection.send((run, progress))
        )
        for outcome in outcomes:
            connection.send(outcome)
