"""Work done ahead of its use, a bounded number of items in front: an iterator on a thread of its own, or on several."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_PATIENCE = 0.1  # seconds between two looks at whether anybody still wants more
_END = object()


def ahead(items: Iterable[Item], *, depth: int) -> Generator[Item]:
    """Yield items in their order, up to ``depth`` of them made before they are asked for.

    What the items raise is raised here. When the iteration is given up, the thread ends before the next item.
    """
    made: Queue[tuple[Any, BaseException | None]] = Queue(depth)
    given_up = Event()

    def hand_over(item: Any, error: BaseException | None = None) -> bool:
        while not given_up.is_set():
            try:
                made.put((item, error), timeout=_PATIENCE)
            except Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not hand_over(item):
                    return
            hand_over(_END)
        except BaseException as error:  # handed to whoever iterates
            hand_over(_END, error)

    thread = Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            try:
                item, error = made.get(timeout=_PATIENCE)
            except Empty:
                continue
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        given_up.set()
        thread.join()


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int | None = None,
    under_way: int | None = None,
    begin: Callable[[], object] = lambda: None,
) -> Generator[Result]:
    """Yield the function of every item, in order, computed on several threads.

    Parameters
    ----------
    function, items
        What is computed, of what; the items are asked for by the caller's thread.
    threads
        How many at a time; the number of usable cores where None. One, with no ``under_way``, is the caller's own.
    under_way
        How many items are taken before the first of them is yielded; 16 for every thread where None.
    begin
        Called on each thread before anything else.
    """
    threads = threads or len(os.sched_getaffinity(0))
    if threads == 1 and under_way is None:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, initializer=begin) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= (under_way or 16 * threads):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
