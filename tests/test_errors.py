"""What an error says to do: calls in a remedy are Python, unless somebody writes them otherwise."""

import pickle

import pytest

from fsrcache.errors import Blank, FsrcacheError, Remedy, RequestError, arguments, call


@pytest.mark.parametrize(
    ("shown", "python"),
    [
        (call("extract", data=Blank("PATH")), "fsrcache.extract(workspace, data=PATH)"),
        (call("extract", scales=[2, 4], workspace="/w"), "fsrcache.extract('/w', scales=[2, 4])"),
        (call("train"), "fsrcache.train(workspace)"),
        (call("verify", store="/s", repair=True), "fsrcache.verify(store='/s', repair=True)"),
        (call("info", workspace="/w"), "fsrcache.info('/w')"),
        (arguments(restart=True, name="a"), "restart=True, name='a'"),
        (arguments(workspace=Blank("DIR")), "workspace=DIR"),
    ],
)
def test_a_call_is_python_as_text(shown, python):
    assert str(shown) == python


def test_a_remedy_is_python_and_is_shown_as_one_likes():
    remedy = Remedy("Run {} first, or {}.", call("train", name="{}"), arguments(restart=True))
    assert remedy == "Run fsrcache.train(workspace, name='{}') first, or restart=True."
    assert remedy.shown(lambda one: one.verb or "nothing") == "Run train first, or nothing."
    assert str(RequestError("Wrong.", remedy)) == f"Wrong.\n{remedy}"


def test_an_error_comes_whole_from_another_process():
    remedy = Remedy("Run {}.", call("train", name="{}"))
    error = pickle.loads(pickle.dumps(FsrcacheError("Wrong.", remedy)))
    assert (error.what, error.remedy) == ("Wrong.", remedy)
    assert error.remedy.shown(lambda one: one.verb) == "Run train."
