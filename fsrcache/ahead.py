"""Work done ahead of its use: an iterator that runs on a thread of its own, a bounded number of items in front."""

from collections.abc import Generator, Iterable
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

Item = TypeVar("Item")
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
