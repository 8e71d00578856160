"""The Dirac-GAN (Mescheder et al. 2018, section 2): data at 0, one generated image at θ, the discriminator D(x) = ψ x.

Theory knows what gradient flow does from any start: some games go round the solution (0, 0) for ever, some come to it.
Both vector fields are taken from the losses and penalties themselves, by autograd.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from training.gan.objective import game
from training.gan.penalties import clip_weights, dragan_penalty, r1_penalty, r2_penalty, wgan_gp_penalty
from training.gan_sections import GanObjectiveKind

START = (0.6, 0.6)
HORIZON = 25.0
QUIET = torch.zeros(2, dtype=torch.float64)
NOISE = math.sqrt(3) * torch.tensor([-1, 0, 0, 0, 0, 1], dtype=torch.float64)
"""Equal shares of the nodes of a mean over N(0, 1) that is exact for polynomials of degree 5."""
Penalty = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]

CYCLING: tuple[GanObjectiveKind, ...] = (
    "minimax",
    "wasserstein",
    "hinge",
    "kl",
    "reverse_kl",
    "pearson",
    "squared_hellinger",
    "jensen_shannon",
    "total_variation",
)
"""Zero-sum near the solution: what one player gains, the other loses, and θ² + ψ² stays what it is."""
SMOOTH: tuple[GanObjectiveKind, ...] = (
    "minimax",
    "non_saturating",
    "least_squares",
    "relativistic",
    "kl",
    "reverse_kl",
    "pearson",
    "squared_hellinger",
    "jensen_shannon",
)
"""Those whose losses are curved everywhere: not linear, and without flat sides."""
SPIRALLING: tuple[GanObjectiveKind, ...] = ("non_saturating", "least_squares", "relativistic")
"""Their generators push harder where they do worse: the flow creeps inwards, ever slower."""

PENALTIES: dict[str, Penalty] = {
    "none": lambda critic, real, fake: torch.zeros(len(real), dtype=real.dtype),
    "r1": lambda critic, real, fake: r1_penalty(critic, real),
    "r2": lambda critic, real, fake: r2_penalty(critic, fake),
    "thrice r1": lambda critic, real, fake: 3 * r1_penalty(critic, real),
    "wgan_gp": lambda critic, real, fake: wgan_gp_penalty(critic, real, fake, torch.full_like(real[:, 0], 0.3)),
    "dragan": lambda critic, real, fake: dragan_penalty(critic, real, torch.ones_like(real)),
}


def _field(kind: GanObjectiveKind, penalty: str, noise: Tensor) -> Callable[[float, NDArray[np.float64]], list[float]]:
    """(−∂L_G/∂θ, −∂L_D/∂ψ), every expectation over instance noise an average over `noise`."""
    played, paid = game(kind), PENALTIES[penalty]

    def field(_: float, state: NDArray[np.float64]) -> list[float]:
        theta, psi = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in state)

        def critic(image: Tensor) -> Tensor:
            return psi * image[:, 0]

        real = noise.repeat_interleave(len(noise))[:, None]  # every pair of two draws
        fake = theta + noise.repeat(len(noise))[:, None]
        logits = critic(real), critic(fake)
        discriminator = played.discriminator_loss(*logits).mean() + paid(critic, real, fake.detach()).mean()
        (by_theta,) = torch.autograd.grad(played.generator_loss(*logits).mean(), theta, retain_graph=True)
        (by_psi,) = torch.autograd.grad(discriminator, psi)
        return [-float(by_theta), -float(by_psi)]

    return field


def _path(
    kind: GanObjectiveKind, penalty: str = "none", *, noise: Tensor = QUIET, horizon: float = HORIZON, looks: int = 3
) -> NDArray[np.float64]:
    """(θ, ψ) at as many looks, evenly from the start to the horizon."""
    times = np.linspace(0, horizon, looks)
    found = solve_ivp(_field(kind, penalty, noise), (0, horizon), START, t_eval=times, rtol=1e-5, atol=1e-8)
    path: NDArray[np.float64] = found.y
    return path


def _distances(kind: GanObjectiveKind, penalty: str = "none", *, noise: Tensor = QUIET) -> list[float]:
    """How far from the solution at the start, half-way and at the end."""
    return [float(distance) for distance in np.hypot(*_path(kind, penalty, noise=noise))]


@pytest.mark.parametrize("kind", CYCLING)
def test_zero_sum_games_go_round_the_solution(kind: GanObjectiveKind) -> None:
    np.testing.assert_allclose(_distances(kind), math.hypot(*START), rtol=1e-3)


def _steps(kind: GanObjectiveKind, size: float, count: int, *, taking_turns: bool) -> NDArray[np.float64]:
    """How far from the solution after each of so many steps, of both players at once or of one after the other."""
    field = _field(kind, "none", QUIET)
    state, found = np.array(START), []
    for _ in range(count):
        if taking_turns:
            state[1] += size * field(0, state)[1]
            state[0] += size * field(0, state)[0]
        else:
            state = state + size * np.array(field(0, state))
        found.append(np.hypot(*state))
    return np.array(found)


@pytest.mark.parametrize("kind", CYCLING)
def test_games_that_go_round_diverge_in_simultaneous_steps(kind: GanObjectiveKind) -> None:
    """Eigenvalues 1 ± i h f'(0) lie outside the unit circle (Mescheder et al. 2018, section 2)."""
    assert _steps(kind, 0.2, 100, taking_turns=False)[-1] > 1.1 * math.hypot(*START)


def test_linear_game_diverges_by_the_same_factor_every_step_unless_players_take_turns() -> None:
    size, start = 0.2, math.hypot(*START)
    grown = start * np.sqrt(1 + size**2) ** np.arange(1, 101)
    np.testing.assert_allclose(_steps("wasserstein", size, 100, taking_turns=False), grown, rtol=1e-9)
    # taking turns, θ² + ψ² ± h θ ψ stays what it is: an ellipse between these two circles
    around = _steps("wasserstein", size, 1000, taking_turns=True)
    spread = math.sqrt((1 + size / 2) / (1 - size / 2))
    assert start / spread <= around.min()
    assert around.max() <= start * spread
    assert around[-500:].max() > 0.9 * start


def test_clipped_weight_goes_round_the_largest_circle_within_its_bounds() -> None:
    played, bound, size = game("wasserstein"), 0.3, 0.02
    critic, theta = nn.Linear(1, 1, bias=False), torch.tensor([[START[0]]], requires_grad=True)
    nn.init.constant_(critic.weight, START[1])
    path = []
    for _ in range(6000):
        logits = critic(torch.zeros(1, 1)), critic(theta)
        (by_theta,) = torch.autograd.grad(played.generator_loss(*logits).mean(), theta, retain_graph=True)
        (by_psi,) = torch.autograd.grad(played.discriminator_loss(*logits).mean(), critic.weight)
        with torch.no_grad():
            theta -= size * by_theta
            critic.weight -= size * by_psi
        clip_weights(critic, bound)
        path.append((theta.item(), critic.weight.item()))
    last = np.abs(np.array(path[-1000:])).max(axis=0)
    np.testing.assert_allclose(last, bound, rtol=0.1)


def test_normalised_weight_has_no_slope_left_to_learn() -> None:
    """All that spectral norm leaves of one weight is its sign: this game cannot say what it does for a net."""
    critic = parametrizations.spectral_norm(nn.Linear(1, 1, bias=False))
    (weight,) = critic.parameters()
    theta = torch.tensor([[START[0]]])
    assert abs(critic(theta).item()) == pytest.approx(START[0])
    loss = game("wasserstein").discriminator_loss(critic(torch.zeros(1, 1)), critic(theta)).mean()
    (by_weight,) = torch.autograd.grad(loss, weight)
    assert by_weight.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", SPIRALLING)
def test_games_that_are_not_zero_sum_creep_inwards_without_arriving(kind: GanObjectiveKind) -> None:
    start, middle, end = _distances(kind)
    assert start > middle > end > start / 20


@pytest.mark.parametrize("penalty", ["r1", "r2"])
@pytest.mark.parametrize("kind", CYCLING + SPIRALLING)
def test_zero_centred_penalties_make_every_game_arrive(kind: GanObjectiveKind, penalty: str) -> None:
    assert _distances(kind, penalty)[-1] < 0.05


@pytest.mark.parametrize("penalty", ["wgan_gp", "dragan"])
@pytest.mark.parametrize("kind", [*CYCLING, *SPIRALLING, "boundary_seeking"])
def test_one_centred_penalties_keep_the_discriminator_from_coming_to_rest(kind: GanObjectiveKind, penalty: str) -> None:
    _, middle, end = _distances(kind, penalty)
    assert min(middle, end) > 0.3


@pytest.mark.parametrize("kind", SMOOTH)
def test_instance_noise_makes_smooth_games_arrive(kind: GanObjectiveKind) -> None:
    assert _distances(kind, noise=NOISE)[-1] < 0.02


def test_instance_noise_does_nothing_for_a_linear_game() -> None:
    np.testing.assert_allclose(_distances("wasserstein", noise=NOISE), math.hypot(*START), rtol=1e-3)


def test_instance_noise_leaves_hinge_on_the_largest_circle_where_it_is_linear() -> None:
    """Farther out its flat sides lead inwards: there the largest logit, |ψ| (|θ| + √3), is above 1."""
    angle = np.linspace(0, np.pi / 2, 1000)[1:-1]
    sine, both = math.sqrt(3) * np.sin(angle), np.sin(angle) * np.cos(angle)
    largest = ((np.sqrt(sine**2 + 4 * both) - sine) / (2 * both)).min()  # r² sin cos + √3 r sin = 1
    start, *rest = _distances("hinge", noise=NOISE)
    np.testing.assert_allclose(rest, largest, rtol=1e-2)
    assert start > 1.5 * largest


def test_instance_noise_leaves_total_variation_on_a_closed_curve() -> None:
    """Its flow, seen in the mirror θ → −θ, is itself backwards: what crosses the mirror twice comes back."""
    field = _field("total_variation", "none", NOISE)
    for theta, psi in np.random.default_rng(0).normal(size=(10, 2)):
        here, mirrored = field(0, np.array([theta, psi])), field(0, np.array([-theta, psi]))
        np.testing.assert_allclose(mirrored, [here[0], -here[1]], atol=1e-12)
    distance = np.hypot(*_path("total_variation", noise=NOISE, horizon=60, looks=601))
    first, last = distance[:301], distance[300:]  # several rounds each
    np.testing.assert_allclose([last.min(), last.max()], [first.min(), first.max()], rtol=5e-3)
    assert last.min() > 0.7


@pytest.mark.parametrize(
    ("penalty", "noise", "gamma"),
    [("r1", QUIET, 1.0), ("r2", QUIET, 1.0), ("thrice r1", QUIET, 3.0), ("none", NOISE, 0.5)],
    ids=["r1", "r2", "thrice r1", "instance noise"],
)
def test_boundary_seeking_creeps_to_the_solution_once_slopes_cost(penalty: str, noise: Tensor, gamma: float) -> None:
    """ψ follows −θ/(2γ), so that θ' = −ψ²θ is −θ³/(4γ²): after a time t, θ is γ √(2/t). Noise of variance v is γ = v/2.

    1/θ² grows by 1/(2γ²) a unit of time, from wherever it came.
    """
    (_, middle, theta), (*_, psi) = _path("boundary_seeking", penalty, noise=noise, horizon=300)
    assert (theta**-2 - middle**-2) / 150 == pytest.approx(1 / (2 * gamma**2), rel=0.02)
    assert psi == pytest.approx(-theta / (2 * gamma), rel=0.02)
    assert _distances("boundary_seeking", penalty, noise=noise)[-1] > 0.1  # where all others have arrived


def test_boundary_seeking_image_reaches_the_data_and_leaves_the_discriminator_a_slope() -> None:
    theta, psi = _path("boundary_seeking")[:, -1]
    assert abs(theta) < 0.01
    assert psi < -0.1
