"""Work done ahead of its use: a map on several threads, in order, a bounded number of items under way."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from fsrcache.errors import RequestError
from fsrcache.threads import usable_threads

Item = TypeVar("Item")
Result = TypeVar("Result")


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
        How many at a time; ``usable_threads()`` where None. One, with no ``under_way``, is the caller's own.
    under_way
        How many items are taken before the first of them is yielded; 16 for every thread where None.
    begin
        Called on each thread before anything else.

    Raises
    ------
    RequestError
        If there are to be no threads, or none under way.
    """
    threads = usable_threads() if threads is None else threads
    if threads < 1 or (under_way is not None and under_way < 1):
        raise RequestError(f"{threads} threads with {under_way} items under way.", "There is at least one of either.")
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
