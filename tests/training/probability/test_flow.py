from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from training.probability.flow import ActNorm, AffineCoupling, Flow, FlowStep, LinearMap, Reversal, real_nvp

SIZE, CONTEXT = 5, 3
STEPS = ["act norm", "coupling", "linear map", "settled linear map", "reversal", "flow", "settled flow"]


@pytest.mark.parametrize("name", STEPS)
def test_step_is_inverted_by_its_inverse(name: str) -> None:
    step, x = _step(name), _rows(4, 6, SIZE)
    assert_close(step.inverse(step(x).value), x)
    assert_close(step(step.inverse(x)).value, x)


@pytest.mark.parametrize("name", STEPS)
def test_log_determinant_is_that_of_the_jacobian(name: str) -> None:
    step, x = _step(name), _rows(3, SIZE)
    found = step(x).log_determinant
    for row, log_determinant in zip(x, found, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda one: step(one[None]).value[0], row)
        assert_close(torch.linalg.slogdet(jacobian).logabsdet, log_determinant)


def test_conditional_coupling_is_inverted_under_the_context_that_it_saw() -> None:
    flow, x, context = _conditional(), _rows(6, SIZE), _rows(6, CONTEXT)
    value, log_determinant = flow(x, context)
    assert_close(flow.inverse(value, context), x)
    assert not torch.allclose(flow(x, context.roll(1, dims=0)).value, value)
    for row in range(6):
        jacobian = torch.autograd.functional.jacobian(lambda one, row=row: flow(one, context[row]).value, x[row])
        assert_close(torch.linalg.slogdet(jacobian).logabsdet, log_determinant[row])


def test_rows_keep_their_leading_axes() -> None:
    flow, x = _stirred(real_nvp(SIZE, 2, 7)), _rows(2, 3, SIZE)
    value, log_determinant = flow(x)
    assert (value.shape, log_determinant.shape) == ((2, 3, SIZE), (2, 3))
    assert_close(flow(x[1]).log_determinant, log_determinant[1])


def test_fresh_coupling_treats_every_row_alike() -> None:
    value, log_determinant = AffineCoupling(SIZE, 7)(_rows(4, SIZE).float())
    assert_close(log_determinant, log_determinant[:1].expand(4))
    assert value.isfinite().all()


def test_fresh_linear_map_is_a_rotation() -> None:
    weight = LinearMap(SIZE).weight.detach()
    assert_close(weight @ weight.T, torch.eye(SIZE))


def test_gradients_reach_every_weight() -> None:
    flow = real_nvp(SIZE, 2, 7)
    value, log_determinant = flow(_rows(4, SIZE).float())
    (value.square().sum() + log_determinant.sum()).backward()
    assert not [name for name, weight in flow.named_parameters() if weight.grad is None]


def _step(name: str) -> FlowStep:
    torch.manual_seed(0)
    match name:
        case "act norm":
            return _stirred(ActNorm(SIZE))
        case "coupling":
            return _stirred(AffineCoupling(SIZE, 7))
        case "linear map" | "settled linear map":
            linear = _stirred(LinearMap(SIZE))
            return linear if name == "linear map" else linear.settled()
        case "reversal":
            return Reversal()
        case _:
            flow = _stirred(real_nvp(SIZE, 3, 7))
            return flow if name == "flow" else flow.settled()


def _conditional() -> FlowStep:
    torch.manual_seed(0)
    couplings = [AffineCoupling(SIZE, 7, context=CONTEXT) for _ in range(2)]
    return _stirred(Flow([couplings[0], Reversal(), couplings[1]]))


def _stirred(step: FlowStep) -> FlowStep:
    """With every weight away from where it starts, in double precision."""
    with torch.no_grad():
        for weight in step.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return step.double()


def _rows(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
