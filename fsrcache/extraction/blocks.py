"""Blocks of a store extracted and written one after another: what every engine does with its share of them."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from fsrcache.extraction.batches import LazyPictures, batch_features, picture_batches
from fsrcache.extraction.source import FaceSource
from fsrcache.extractors.identity import BATCH
from fsrcache.store.blocks import Block
from fsrcache.store.spec import StoreSpec

Extracted = tuple[int, int]  # a scale, and the number of pictures that are done at it
WriteBlock = Callable[[Block, Mapping[str, NDArray[np.float32]]], None]


def extract_blocks(
    source: FaceSource, spec: StoreSpec, blocks: Sequence[Block], *, write: WriteBlock
) -> Generator[Extracted]:
    """Extract and write blocks, every block while the next one is extracted; the last one is written at the end.

    Parameters
    ----------
    source
        Faces and extractor.
    spec
        What the store is about.
    blocks
        The blocks; scales of a block that are next to each other share its pictures.
    write
        Writes the outputs ``[rows, width]`` of a block, by name.

    Yields
    ------
    Extracted
        After every batch.
    """
    writing: Future[None] | None = None
    with ThreadPoolExecutor(1) as pool, closing(batch_features(source, _batches(source, spec, blocks))) as extracted:
        for block in blocks:
            length = len(_rows(source, spec, block))
            values: dict[str, NDArray[np.float32]] = {}
            for start, part in zip(range(0, length, BATCH), extracted, strict=False):
                for name, rows in part._asdict().items():
                    if name not in spec.widths:
                        continue
                    whole = values.setdefault(name, np.empty((length, rows.shape[1]), np.float32))
                    whole[start : start + len(rows)] = rows
                yield block[1], len(part.features)
            if writing is not None:
                writing.result()
            writing = pool.submit(write, block, values)
        if writing is not None:
            writing.result()


def pictures_of(spec: StoreSpec, blocks: Sequence[Block]) -> int:
    """Return how many pictures are extracted for blocks, faces times scales."""
    rows = [spec.rows_of(split, block) for split, _, block in blocks]
    return sum(one.stop - one.start for one in rows)


def _rows(source: FaceSource, spec: StoreSpec, block: Block) -> NDArray[np.int64]:
    split, _, number = block
    return source.rows(split)[spec.rows_of(split, number)]


def _batches(source: FaceSource, spec: StoreSpec, blocks: Sequence[Block]) -> Iterator[tuple[LazyPictures, int]]:
    """Yield pictures and scale of every batch of the blocks; the scales of a block share its pictures."""
    current: tuple[str, int] | None = None
    batches: list[LazyPictures] = []
    for block in blocks:
        split, scale, number = block
        if current != (split, number):
            current = (split, number)
            batches = picture_batches(source, _rows(source, spec, block), split=split)
        yield from ((batch, scale) for batch in batches)
