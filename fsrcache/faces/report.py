"""The report on a data set, as one plain record."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsrcache.faces.expressions import SPLITS
from fsrcache.faces.faces import Faces

_EXAMPLES = 10


def report(faces: Faces) -> dict[str, Any]:
    """Describe the usable faces and the defects of the others, ready for JSON.

    Keys: ``layout``, ``classes``, ``splits`` {split: {class: usable pictures}}, ``mapping`` {written: class},
    ``sizes`` {"H x W": pictures}, ``side``, ``resized``, ``grey``, ``notes`` [sentence], ``conversions`` {conversion of
    unusual files: pictures}, ``left_out`` {reason: entries}, ``left_out_names`` {reason: the first of them},
    ``unreadable`` [{path, reason}], and ``duplicates`` of :func:`duplicates`.
    """
    listing, seen = faces.listing, faces.seen
    shapes, counts = np.unique(seen.sizes[faces.rows], axis=0, return_counts=True)
    by_count = np.argsort(-counts, kind="stable")
    return {
        "layout": listing.layout,
        "classes": list(faces.classes),
        "splits": {
            SPLITS[split]: {
                name: int(((faces.splits == split) & (faces.labels == k)).sum()) for k, name in enumerate(faces.classes)
            }
            for split in np.unique(listing.splits)
        },
        "mapping": listing.mapping,
        "sizes": {f"{shapes[i][0]} x {shapes[i][1]}": int(counts[i]) for i in by_count},
        "side": faces.side,
        "resized": faces.resized,
        "grey": faces.grey if len(faces.rows) else False,
        "notes": [*listing.notes, *faces.notes],
        "conversions": seen.conversions,
        "left_out": listing.left_out,
        "left_out_names": listing.left_out_names,
        "unreadable": [{"path": listing.where(i), "reason": reason} for i, reason in seen.unreadable.items()],
        "duplicates": duplicates(faces),
    }


def duplicates(faces: Faces) -> dict[str, Any]:
    """Count pictures whose decoded pixels are equal.

    Keys: ``groups`` of equal pictures and ``pictures`` in them; ``across_splits``, the groups in more than one split;
    ``twins_in_train`` {split: its pictures that are in train too}; ``conflicting_labels``, the groups whose labels
    differ; ``examples``, the names in the first groups of either kind.
    """
    order, starts = equal_rows(faces.hashes)
    splits, labels = faces.splits[order], faces.labels[order]
    twins = dict.fromkeys((SPLITS[split] for split in np.unique(splits) if split), 0)
    groups = pictures = across = conflicts = 0
    examples: list[list[dict[str, str]]] = []
    sizes = np.diff(starts)
    for group in np.flatnonzero(sizes > 1):
        part = slice(starts[group], starts[group + 1])
        present = np.unique(splits[part])
        crosses, conflict = len(present) > 1, len(np.unique(labels[part])) > 1
        groups, pictures = groups + 1, pictures + int(sizes[group])
        across, conflicts = across + crosses, conflicts + conflict
        if present[0] == 0:
            for split in present[1:]:
                twins[SPLITS[split]] += int((splits[part] == split).sum())
        if (crosses or conflict) and len(examples) < _EXAMPLES:
            examples.append(
                [
                    {
                        "name": str(faces.names[row]),
                        "split": SPLITS[faces.splits[row]],
                        "class": faces.classes[faces.labels[row]],
                    }
                    for row in order[part]
                ]
            )
    return {
        "groups": groups,
        "pictures": pictures,
        "across_splits": across,
        "twins_in_train": twins,
        "conflicting_labels": conflicts,
        "examples": examples,
    }


def equal_rows(hashes: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows sorted by hash ``[n]``, and the start of each group of equal ones in them ``[groups + 1]``."""
    halves = np.ascontiguousarray(hashes).view(np.uint64).reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0])).astype(np.int64)
    sorted_halves = halves[order]
    changes = (sorted_halves[1:] != sorted_halves[:-1]).any(axis=1) if len(order) else np.empty(0, np.bool_)
    starts = np.concatenate([[0] if len(order) else [], np.flatnonzero(changes) + 1, [len(order)]]).astype(np.int64)
    return order, starts
