"""Every op, with its gradient, is the same in whatever mode PyTorch is; transforms have the right derivative."""

import warnings

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.library import custom_op
from torch.utils._python_dispatch import TorchDispatchMode

from fsrcache.errors import FsrcacheError
from fsrcache.kernels import (
    bimap_covariance_pool,
    closed_form_penalty,
    covariance_pool,
    gradient_norm,
    log_eig,
    log_eig_gemm,
    penalty_direction,
    symmetric_gather,
)
from fsrcache.kernels.bimap_covariance_pool import bimap_covariance_pool_reference
from fsrcache.kernels.covariance_pool import covariance_pool_backward_reference, covariance_pool_reference
from fsrcache.kernels.log_eig import log_eig_reference, slope
from fsrcache.kernels.log_eig_gemm import launch_log_eig_gemm
from fsrcache.kernels.modes import (
    multiplier,
    needs_no_op,
    op_body,
    refuse_second_derivative,
    transformed,
    without_autocast,
)
from fsrcache.spd import orthonormal, tangent, unvech, vech

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # of torch.func itself


def random(*shape, dtype=torch.float64, seed=0):
    numbers = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed), device="cpu")
    return numbers.to(dtype)


def assert_same(got, expected):
    """The same but for the last bits, which depend on where in memory numbers lie."""
    assert got.dtype == expected.dtype
    assert (got - expected).norm() <= 1e-6 * expected.norm()


MAPS = random(3, 5, 12).relu()
MATRICES = covariance_pool(10 * MAPS, 0.01)
WEIGHT, ROWS = random(4, 5, seed=1), torch.tensor([2, 0, 2])
OPS = {
    "covariance_pool": (lambda x: covariance_pool(x, 0.01), MAPS),
    "bimap_covariance_pool by x": (lambda x: bimap_covariance_pool(x, WEIGHT.to(x.dtype), 0.01), MAPS),
    "bimap_covariance_pool by w": (lambda w: bimap_covariance_pool(MAPS.to(w.dtype), w, 0.01), WEIGHT),
    "log_eig": (lambda S: log_eig(S, 1e-4), MATRICES),
    "log_eig clipped": (lambda S: log_eig(S, float(MATRICES.diagonal(dim1=-2, dim2=-1).mean())), MATRICES),
    "log_eig_gemm": (lambda S: log_eig_gemm(S, 1e-4), MATRICES),
    "gradient_norm": (lambda g: gradient_norm(g, 3.0), MAPS),
    "gradient_norm p 1": (lambda g: gradient_norm(g, 1.0), MAPS),
    "symmetric_gather": (
        lambda cache: symmetric_gather(cache, ROWS, cache[0].double(), cache[1].double(), cache.dtype),
        random(3, 15),
    ),
    "tangent": (lambda w: tangent(w, w.flip(1)), orthonormal(4, 9, generator=torch.Generator()).double()),
    "vech": (vech, MATRICES),
    "unvech": (unvech, random(2, 15)),
}
DIFFERENTIABLE = {name: case for name, case in OPS.items() if name not in ("tangent", "unvech")}
DIFFERENTIABLE_ONCE = {
    "fsrcache::log_eig_gemm": (lambda S: torch.ops.fsrcache.log_eig_gemm(S, 1e-4), MATRICES),
    **{name: OPS[name] for name in ("covariance_pool", "log_eig", "gradient_norm", "symmetric_gather")},
}


def with_gradient(function, argument):
    """Return a function's value and the gradient of a weighted sum of it; no one differentiates ``tangent``."""
    if function is OPS["tangent"][0]:
        return (function(argument),)
    leaf = argument.clone().requires_grad_()
    value = function(leaf)
    upstream = random(*value.shape, seed=5).to(value.dtype)
    return value.detach(), torch.autograd.grad(value, leaf, upstream)[0]


def critic(dtype=torch.float32):
    torch.manual_seed(0)
    layers = nn.Conv1d(5, 4, 3, dtype=dtype), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(40, 1, dtype=dtype)
    return nn.Sequential(*layers)


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("lower", [torch.bfloat16, torch.float16])
def test_autocast(name, given, lower):
    if name in ("tangent", "vech", "unvech") and given == torch.bfloat16:
        given = torch.float32
    function, argument = OPS[name]
    expected = with_gradient(function, argument.to(given))
    with torch.autocast("cpu", lower):
        got = with_gradient(function, argument.to(given))
    for mine, theirs in zip(got, expected, strict=True):
        assert_same(mine, theirs)


def test_autocast_of_the_op_for_a_gpu():
    expected = with_gradient(lambda S: torch.ops.fsrcache.log_eig_gemm(S, 1e-4), MATRICES.float())
    with torch.autocast("cpu", torch.bfloat16):
        got = with_gradient(lambda S: torch.ops.fsrcache.log_eig_gemm(S, 1e-4), MATRICES.float())
    for mine, theirs in zip(got, expected, strict=True):
        assert_same(mine, theirs)


@pytest.mark.parametrize("lower", [torch.bfloat16, torch.float16])
def test_autocast_of_a_penalty(lower):
    x = MAPS.float()
    cases = lambda: (*closed_form_penalty(critic(), x)[1], *penalty_direction(x, 2.0, 6.0))  # noqa: E731
    expected = cases()
    with torch.autocast("cpu", lower):
        got = cases()
    for mine, theirs in zip(got, expected, strict=True):
        assert_same(mine, theirs)


def test_autocast_within_what_is_compiled():
    def function(x):
        logarithm = log_eig(bimap_covariance_pool(x, WEIGHT.float(), 1e-2), 1e-4)
        return logarithm, *closed_form_penalty(network, x)[1]

    network, x = critic(), MAPS.float()
    expected = function(x)
    with torch.autocast("cpu", torch.bfloat16):
        got = torch.compile(function, backend="aot_eager", fullgraph=True)(x)
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_autocast_on_a_gpu():
    """Types as they would be there: none of the tensors has any numbers."""
    torch.set_autocast_enabled("cuda", True)
    try:
        with FakeTensorMode():
            x = torch.empty(3, 5, 12, device="cuda")
            assert (x @ x.mT).dtype == torch.float16  # autocast is at work
            for found in (covariance_pool(x, 1e-4), log_eig(x.new_empty(2, 4, 4), 1e-4), gradient_norm(x, 6.0)):
                assert found.dtype == torch.float32
            assert without_autocast(lambda x: x @ x.mT)(x).dtype == torch.float32
    finally:
        torch.set_autocast_enabled("cuda", False)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_forward_mode_is_reverse_mode(name):
    function, argument = OPS[name]
    direction = random(*argument.shape, seed=7)
    value, tangent = torch.func.jvp(function, (argument,), (direction,))
    torch.testing.assert_close(value, function(argument))
    upstream = random(*value.shape, seed=8)
    leaf = argument.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf), leaf, upstream)
    torch.testing.assert_close((tangent * upstream).sum(), (gradient * direction).sum(), rtol=1e-9, atol=0)
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(function(forward_ad.make_dual(argument, direction)))
        torch.testing.assert_close(dual.tangent, tangent, rtol=1e-12, atol=1e-12)
    step = 1e-6 * direction
    torch.testing.assert_close((function(argument + step) - function(argument - step)) / 2e-6, tangent,
                               rtol=1e-4, atol=1e-4)  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_transforms(name):
    function, argument = OPS[name]
    leaf = argument.clone().requires_grad_()
    upstream = random(*function(argument).shape, seed=8)
    (expected,) = torch.autograd.grad(function(leaf), leaf, upstream)
    (pulled,) = torch.func.vjp(function, argument)[1](upstream)
    torch.testing.assert_close(pulled, expected)
    scalar = torch.func.grad(lambda argument: (function(argument) * upstream).sum())
    torch.testing.assert_close(scalar(argument), expected)
    several = torch.stack([argument, argument / 2, argument * 2])
    torch.testing.assert_close(torch.func.vmap(function)(several), torch.stack([function(one) for one in several]))
    torch.testing.assert_close(torch.func.vmap(scalar)(several), torch.stack([scalar(one) for one in several]))
    small = argument[:1] if argument.ndim == 3 else argument
    torch.testing.assert_close(torch.func.jacfwd(function)(small), torch.func.jacrev(function)(small))
    by_rows = torch.autograd.grad(function(leaf), leaf, torch.stack([upstream, -upstream]), is_grads_batched=True)[0]
    torch.testing.assert_close(by_rows, torch.stack([expected, -expected]))


@pytest.mark.parametrize("name", ["covariance_pool", "bimap_covariance_pool by w", "gradient_norm"])
def test_a_second_derivative_by_transforms(name):
    function, argument = OPS[name]
    direction = random(*argument.shape, seed=7)
    slope = torch.func.grad(lambda argument: function(argument).square().sum())
    _, curvature = torch.func.jvp(slope, (argument,), (direction,))
    step = 1e-6 * direction
    torch.testing.assert_close(
        curvature, (slope(argument + step) - slope(argument - step)) / 2e-6, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("name", DIFFERENTIABLE_ONCE)
def test_a_second_backward_is_refused(name, linear):
    """Behind a linear function the gradient depends on the argument through the op's own saved tensors alone."""
    function, argument = DIFFERENTIABLE_ONCE[name]
    leaf = argument.clone().requires_grad_()
    value = function(leaf) if linear else function(leaf).square()
    (gradient,) = torch.autograd.grad(value.sum(), leaf, create_graph=True)
    op = name.split()[0].removeprefix("fsrcache::")
    with pytest.raises(FsrcacheError, match=f"{op} is differentiated once, not twice"):
        torch.autograd.grad(gradient.sum() + leaf.sum(), leaf)


@pytest.mark.parametrize("outer", [torch.func.jacfwd, torch.func.jacrev])
def test_a_second_derivative_of_the_logarithm_is_an_error(outer):
    with pytest.raises(FsrcacheError, match="log_eig is differentiated once"):
        outer(torch.func.grad(lambda S: log_eig(S, 1e-4).square().sum()))(MATRICES)


def test_what_transforms_would_lose_is_an_error():
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(MAPS, MAPS)
        with pytest.raises(FsrcacheError, match="op covariance_pool has no forward-mode derivative"):
            torch.ops.fsrcache.covariance_pool(dual, 0.01)
        with pytest.raises(FsrcacheError, match="is not differentiated"):
            closed_form_penalty(critic(torch.float64), dual)
    leaf = MAPS.clone().requires_grad_()
    pooled = covariance_pool(leaf, 0.01)
    with forward_ad.dual_level(), pytest.raises(FsrcacheError, match="no forward-mode derivative"):
        torch.autograd.grad(pooled, leaf, forward_ad.make_dual(pooled.detach(), pooled.detach()))


def test_the_penaltys_direction_under_transforms():
    slope = torch.func.grad(lambda g: penalty_direction(g, 2.0, 3.0)[0])(MAPS)
    torch.testing.assert_close(slope, penalty_direction(MAPS, 2.0, 3.0)[1])


@pytest.fixture
def ambient(request):
    """Set a mode of the process, and put it back."""
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    request.param()
    yield
    torch.set_default_dtype(dtype)
    torch.set_default_device(None if device == torch.device("cpu") else device)
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.fp32_precision = torch.backends.mkldnn.matmul.fp32_precision = "none"


MODES = {
    "float64": lambda: torch.set_default_dtype(torch.float64),
    "bfloat16": lambda: torch.set_default_dtype(torch.bfloat16),
    "meta": lambda: torch.set_default_device("meta"),
    "deterministic": lambda: torch.use_deterministic_algorithms(True),
}
WANTED = {name: with_gradient(function, argument.float()) for name, (function, argument) in OPS.items()}


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("ambient", MODES.values(), ids=MODES.keys(), indirect=True)
def test_defaults_of_the_process(name, ambient):  # noqa: ARG001
    function, argument = OPS[name]
    for mine, theirs in zip(with_gradient(function, argument.float()), WANTED[name], strict=True):
        assert_same(mine, theirs)


@pytest.mark.parametrize("ambient", MODES.values(), ids=MODES.keys(), indirect=True)
def test_defaults_of_the_process_and_a_penalty(ambient):  # noqa: ARG001
    with torch.device("cpu"):
        network = nn.Sequential(nn.Flatten(), nn.Linear(60, 1, dtype=torch.float32))
    value, grads = closed_form_penalty(network, MAPS.float())
    assert {value.dtype, *(gradient.dtype for gradient in grads)} == {torch.float32}
    assert value.item() > 0
    drawn = orthonormal(4, 9, generator=torch.Generator(device="cpu"))
    assert (drawn.dtype, drawn.device) == (torch.float32, torch.get_default_device())


@pytest.mark.parametrize("name", OPS)
def test_without_gradients(name):
    function, argument = OPS[name]
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert_same(function(argument.float()), WANTED[name][0])
    with torch.inference_mode():
        inferred = argument.float() * 1
    assert_same(function(inferred), WANTED[name][0])
    upstream = random(*function(argument).shape, seed=5)
    leaf = argument.clone().requires_grad_()
    value = function(leaf)
    with torch.no_grad():
        (gradient,) = torch.autograd.grad(value, leaf, upstream)
    (expected,) = torch.autograd.grad(function(leaf), leaf, upstream, create_graph=True)
    assert_same(gradient, expected)


class Ops(TorchDispatchMode):
    """Notes the names of the package's ops that are called."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.namespace == "fsrcache":
            self.names.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


@torch.no_grad()
def test_whoever_traces_without_gradients_meets_the_ops():
    def function(x):
        return log_eig(bimap_covariance_pool(x, WEIGHT, 1e-2), 1e-4)

    names = {"bimap_covariance_pool", "log_eig"}
    with Ops() as seen:
        function(MAPS)
    assert seen.names == names
    assert not needs_no_op(torch.empty(3, device="meta"))
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(MAPS), mode.from_tensor(WEIGHT)
    assert log_eig(bimap_covariance_pool(*fake, 1e-2), 1e-4).shape == (3, 4, 4)
    graphs = []

    def backend(graph, _):
        graphs.append(graph.code)
        return graph

    torch.testing.assert_close(torch.compile(function, backend=backend, fullgraph=True)(MAPS), function(MAPS))
    assert all(f"fsrcache.{name}" in graphs[0] for name in names)
    assert needs_no_op(MAPS)
    with torch.enable_grad():
        assert not needs_no_op(MAPS)


@pytest.mark.parametrize("enter", [torch.inference_mode, lambda: torch.device("meta"), FakeTensorMode])
def test_what_is_kept_is_of_no_mode(enter):
    side = {torch.inference_mode: 11}.get(enter, 12 if enter is FakeTensorMode else 13)  # of a size not met before
    rows = torch.tensor([1])
    with enter():
        symmetric_gather(torch.zeros(2, side * (side + 1) // 2, device="cpu"), rows.cpu() if enter is not FakeTensorMode
                         else torch.zeros(1, dtype=torch.int64), None, None, torch.float32)  # fmt: skip
    cache = random(2, side * (side + 1) // 2).requires_grad_()
    pictures = symmetric_gather(cache, rows, None, None, torch.float64)
    torch.testing.assert_close(pictures[:, 0], unvech(cache[rows]))
    torch.autograd.backward(pictures.sum())
    assert cache.grad[1].abs().min() > 0


@pytest.mark.parametrize("name", [name for name in DIFFERENTIABLE if name not in ("vech", "symmetric_gather")])
@pytest.mark.parametrize(
    "ambient", [lambda: torch.set_float32_matmul_precision("medium")], ids=["medium"], indirect=True
)
def test_products_with_fewer_bits_are_done_in_float64(name, ambient):  # noqa: ARG001
    function, argument = OPS[name]
    assert multiplier(argument.float()) == torch.float64
    got = with_gradient(function, argument.float())
    for mine, theirs in zip(got, WANTED[name], strict=True):
        assert mine.dtype == torch.float32
        assert (mine - theirs).norm() < 1e-5 * theirs.norm()
    if "covariance" in name:  # of whose sums float64 differs in the last bits
        assert (got[0] - function(argument.float().double())).norm() < 5e-8 * got[0].norm()
    torch.set_float32_matmul_precision("highest")
    assert multiplier(argument.float()) == torch.float32


class Products(TorchDispatchMode):
    """Notes the types of what is multiplied."""

    def __init__(self):
        super().__init__()
        self.types = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.bmm):
            self.types |= {argument.dtype for argument in args}
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("precision", "wanted"), [("medium", torch.float64), ("highest", torch.float32)])
@pytest.mark.parametrize("ambient", [lambda: None], ids=[""], indirect=True)
def test_no_product_has_fewer_bits(precision, wanted, ambient):  # noqa: ARG001
    S, x, w = MATRICES.float(), MAPS.float(), WEIGHT.float()
    torch.set_float32_matmul_precision(precision)
    _, eigenvalues, eigenvectors = log_eig_reference(S, 1e-4)
    with Products() as done:
        log_eig_reference(S, 1e-4)
        slope(S, eigenvalues, eigenvectors, 1e-4)
        covariance_pool_reference(x, 1e-4)
        covariance_pool_backward_reference(S, x, 1e-4)
        bimap_covariance_pool_reference(x, w, 1e-4)
        launch_log_eig_gemm(S.new_ones(1, 1, 1).expand(1, 130, 130), 1e-4)  # too large for the kernel
    assert done.types == {wanted}


def test_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        covariance_pool(MAPS, 0.01)
        closed_form_penalty(critic(torch.float64), MAPS)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_vmap_gives_no_warning(name):
    function, argument = DIFFERENTIABLE[name]
    leaf = argument.clone().requires_grad_()
    value = function(leaf)
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            torch.func.vmap(function)(torch.stack([argument, argument]))
            torch.func.vmap(torch.func.grad(lambda one: function(one).sum()))(torch.stack([argument, argument]))
            torch.autograd.grad(value, leaf, torch.ones(2, *value.shape, dtype=value.dtype), is_grads_batched=True)
    finally:
        torch.set_warn_always(False)


@custom_op("outside::energy", mutates_args=())
@op_body
def _energy(x: torch.Tensor) -> torch.Tensor:
    return (x @ x.mT).sum((-2, -1))


@custom_op("outside::energy_backward", mutates_args=())
@op_body
def _energy_backward(gradient: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return 2 * gradient[:, None, None] * x.sum(1, keepdim=True).expand_as(x)


_energy.register_autograd(
    lambda ctx, gradient: _energy_backward(gradient, *ctx.saved_tensors),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),  # noqa: ARG005
)
refuse_second_derivative(_energy_backward, "energy")


def test_an_op_from_outside_is_nothing_but_a_function():
    def energy(x):
        return (x @ x.mT).sum((-2, -1)) if transformed() else _energy(x)

    x = MAPS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(log_eig(covariance_pool(x)).sum() + energy(x).sum(), x, create_graph=True)
    by_func = torch.func.grad(lambda x: log_eig(covariance_pool(x)).sum() + energy(x).sum())(MAPS)
    torch.testing.assert_close(gradient, by_func)
    with torch.autocast("cpu", torch.bfloat16):
        assert energy(MAPS.float()).dtype == torch.float32
    with pytest.raises(FsrcacheError, match="energy is differentiated once"):
        torch.autograd.grad(energy(x).square().sum(), x, create_graph=True)[0].sum().backward()
