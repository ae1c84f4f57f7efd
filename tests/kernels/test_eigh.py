"""Matrices that are decomposed on several threads are what each is alone, bit for bit."""

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from fsrcache.kernels.eigh import eigh


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def covariances(batch, side, dtype):
    maps = torch.randn(batch, side, 3 * side, dtype=dtype, generator=torch.Generator().manual_seed(0))
    return maps @ maps.mT / (3 * side)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("batch", "side"), [(1, 160), (7, 64), (2, 128), (33, 32)])
def test_several_threads_change_no_bit(threads, batch, side, dtype):
    matrices = covariances(batch, side, dtype)
    threads(1)
    alone = eigh(matrices)
    threads(3)
    for one, other in zip(alone, eigh(matrices), strict=True):
        assert torch.equal(one, other)
    values, vectors = alone
    tolerance = 200 * torch.finfo(dtype).eps
    torch.testing.assert_close(vectors * values[:, None] @ vectors.mT, matrices, rtol=0, atol=tolerance)


def test_several_at_a_time(threads, monkeypatch):
    threads(2)
    decompose, both = torch.linalg.eigh, threading.Barrier(2, timeout=20)

    def waiting(S):
        both.wait()  # for the other thread: one after the other would never get here
        return decompose(S)

    monkeypatch.setattr(torch.linalg, "eigh", waiting)
    assert eigh(covariances(2, 128, torch.float32))[0].shape == (2, 128)


def test_threads_that_begin_later_have_as_many_as_before(threads):
    threads(3)
    eigh(covariances(2, 128, torch.float32))
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == torch.get_num_threads() == 3


def test_threads_that_begin_meanwhile_have_as_many_as_before(threads, monkeypatch):
    threads(3)
    matrices, decompose, seen = covariances(3, 128, torch.float32), torch.linalg.eigh, []
    eigh(matrices)

    def meanwhile(S):
        with ThreadPoolExecutor(1) as pool:
            seen.append(pool.submit(torch.get_num_threads).result())
        return decompose(S)

    monkeypatch.setattr(torch.linalg, "eigh", meanwhile)
    eigh(matrices)
    assert seen == [3, 3, 3]


def forked(connection, matrices):
    connection.send([part.numpy() for part in eigh(matrices)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(threads):
    threads(2)
    matrices = covariances(2, 128, torch.float32)
    expected = eigh(matrices)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=forked, args=(theirs, matrices))
    process.start()
    assert ours.poll(60)
    for one, other in zip(ours.recv(), expected, strict=True):
        assert torch.equal(torch.from_numpy(one), other)
    process.join(60)
    assert process.exitcode == 0


def test_an_error_of_any_thread_is_raised(threads, monkeypatch):
    threads(2)

    def failing(S):  # noqa: ARG001  # eigh's signature
        raise torch.linalg.LinAlgError("no convergence")

    monkeypatch.setattr(torch.linalg, "eigh", failing)
    with pytest.raises(torch.linalg.LinAlgError):
        eigh(covariances(2, 128, torch.float32))


def test_in_inference_mode_too(threads):
    threads(2)
    matrices = covariances(2, 128, torch.float32)
    with torch.inference_mode():
        inferred = eigh(matrices.clone())
    assert all(torch.equal(one, other) for one, other in zip(eigh(matrices), inferred, strict=True))


def test_gradients_are_left_to_the_caller(threads):
    threads(2)
    values, vectors = eigh(covariances(2, 128, torch.float32).requires_grad_())
    assert not values.requires_grad
    assert not vectors.requires_grad
