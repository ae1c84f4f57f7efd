"""The seals of a store's shards, read from their tails: what the root of a complete store says of them."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from fsrcache.progress import Progress, ProgressCallback
from fsrcache.store.inventory import Inventory
from fsrcache.store.layout import ArrayLayout, arrays
from fsrcache.store.root import Root
from fsrcache.store.shard import DamagedError, check_tail, damaged_file
from fsrcache.store.spec import StoreSpec

_TAILS_AT_ONCE = 16


def shard_seals(inventory: Inventory, spec: StoreSpec, on_progress: ProgressCallback) -> dict[str, str]:
    """Return the seal of every shard by key, hexadecimal, as its writer put it there.

    Raises
    ------
    FsrcacheError
        If a shard is damaged.
    OSError
        If the storage fails.
    """

    def seal(array: ArrayLayout, block: int) -> str:
        start = array.shard_bytes(block) - array.tail_bytes
        data = inventory.read(array.key(block), array.tail_bytes, start=start)
        try:
            return check_tail(array, data or b"", block=block).hex()
        except DamagedError as error:
            raise damaged_file(array.key(block), error, store=inventory.name, location=inventory.location) from None

    shards = [(array, block) for array in arrays(spec) if array.chunk for block in range(array.files)]
    seals = {}
    with ThreadPoolExecutor(_TAILS_AT_ONCE) as pool:
        tails = [pool.submit(seal, array, block) for array, block in shards]
        try:
            for count, ((array, block), tail) in enumerate(zip(shards, tails, strict=True), 1):
                seals[array.key(block)] = tail.result()
                on_progress(Progress("completing", count, len(shards), "files"))
        finally:
            pool.shutdown(cancel_futures=True)
    return seals


def refuse_other_files(inventory: Inventory, root: Root, digests: Mapping[str, str]) -> None:
    """Raise if a file is not what the root of a complete store says that it is.

    Parameters
    ----------
    inventory
        Files of the store.
    root
        What the store says of itself.
    digests
        Digests of its columns and seals of its shards by key, as they are there.

    Raises
    ------
    FsrcacheError
        With the first such file.
    """
    assert root.shards is not None
    for array in arrays(root.spec):
        for key, written in zip(array.keys, root.shards[array.name], strict=True):
            if digests[key] != written:
                reason = "it is not what was written there"
                raise damaged_file(key, reason, store=inventory.name, location=inventory.location)
