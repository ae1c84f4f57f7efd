"""A split's labels and probabilities as a pandas DataFrame."""

from typing import TYPE_CHECKING, Any

from fsrcache.errors import RequestError

if TYPE_CHECKING:
    import pandas

    from fsrcache.store.reader import FeatureStore


def frame_of(store: "FeatureStore", split: str) -> "pandas.DataFrame":
    """Return a row a picture, in the store's order; see :meth:`FeatureStore.to_pandas`.

    Raises
    ------
    RequestError
        If pandas is not installed.
    FsrcacheError
        If there is no such split, or it cannot be read.
    """
    try:
        import pandas
    except ImportError as error:
        raise RequestError(
            f"pandas cannot be loaded: {error}.", "Install it: pip install 'fsrcache[pandas]'."
        ) from None
    columns: dict[str, Any] = {
        "id": store.ids(split).tolist(),
        "label": pandas.Categorical.from_codes(store.labels(split).astype("i4"), categories=list(store.classes)),
    }
    if "probabilities" in store.spec.widths:
        for scale in store.scales:
            values = store.probabilities(split, scale)[:]
            columns |= {f"x{scale} {name}": values[:, index] for index, name in enumerate(store.classes)}
    return pandas.DataFrame(columns)
