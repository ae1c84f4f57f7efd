"""Labels and probabilities as a DataFrame: every number where its heading says, and a sentence without pandas."""

import sys

import numpy as np
import pandas as pd
import pytest

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.store.reader import FeatureStore
from fsrcache.store.spec import StoreSpec
from fsrcache.store.writer import FeatureWriter


def test_a_row_a_picture_and_a_column_a_scale_and_class(example, store):
    opened = FeatureStore(store)
    frame = opened.to_pandas("train")
    assert list(frame.columns) == ["id", "label", "x1 happiness", "x1 anger", "x2 happiness", "x2 anger"]
    assert frame["id"].tolist() == example.columns()["ids"]["train"]
    assert frame["label"].tolist() == [opened.classes[label] for label in example.columns()["labels"]["train"]]
    assert frame["label"].cat.categories.tolist() == ["happiness", "anger"]
    for scale in (1, 2):
        expected = example.values("train", scale, slice(None))["probabilities"]
        columns = frame[[f"x{scale} happiness", f"x{scale} anger"]]
        assert (columns.dtypes == np.float32).all()
        assert np.array_equal(columns.to_numpy(), expected)


def test_a_csv_of_it_is_read_again(store, tmp_path):
    frame = FeatureStore(store).to_pandas("val")
    frame.to_csv(tmp_path / "val.csv", index=False)
    again = pd.read_csv(tmp_path / "val.csv")
    assert again["label"].tolist() == frame["label"].tolist()
    assert np.allclose(again["x2 anger"], frame["x2 anger"], rtol=1e-6)


def test_a_store_without_probabilities_has_ids_and_labels(tmp_path):
    spec = StoreSpec.for_vectors(3, rows={"val": 2}, classes=("a", "b", "c"), content={})
    labels = {"val": np.array([2, 0], np.uint8)}
    with FeatureWriter(tmp_path / "s", spec, labels=labels, ids={"val": ["x", "y"]}) as writer:
        for split, scale, block in writer.missing():
            writer.write(split, scale, block=block, features=np.zeros((2, 3), np.float32))
        writer.finish()
    frame = FeatureStore(tmp_path / "s").to_pandas("val")
    assert frame.to_dict("list") == {"id": ["x", "y"], "label": ["c", "a"]}


def test_a_split_that_is_not_there_is_named(store):
    with pytest.raises(FsrcacheError, match="no split 'test'"):
        FeatureStore(store).to_pandas("test")


def test_without_pandas_it_says_how_to_install_it(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(RequestError, match=r"(?s)pandas cannot be loaded: .*'fsrcache\[pandas\]'"):
        FeatureStore(store).to_pandas("val")
