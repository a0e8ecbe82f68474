"""Bi-level sample weighting over a whole network: `forecasters.bilevel` without its limit to a linear head.

With group weights w (G,), group losses L_g and all weights theta of a network, held where they are by a ridge:

    inner    theta*(w) = argmin over theta of  sum_g w_g L_g(theta) + ridge / 2 |theta - theta_0|^2
    outer    Phi(w) = F(theta*(w))       F: the loss on real samples kept aside

The inner problem has no closed form, so it is minimised by L-BFGS from theta_0. Its optimum moves with w as the
implicit function theorem says; the ridge makes it a smooth function of w (Rajeswaran, Finn, Kakade, Levine,
"Meta-Learning with Implicit Gradients", NeurIPS 2019):

    dPhi / dw_g = - <grad L_g(theta*), v>,   (sum_g w_g Hess L_g(theta*) + ridge I) v = grad F(theta*)

v comes by conjugate gradients, which need products of the Hessian with vectors only; torch.autograd has those as the
gradient of <gradient, vector>. What comes out, (Phi, gradient), is what `bilevel.minimise_by_cuts` takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class NetworkProblem:
    """The bi-level problem of all weights of a network, called as w (G,) -> Phi and its gradient (G,).

    parameters: the weights. groups: one call for each of the G groups, which gives its loss, a scalar, at the weights
    as they are. outer: the same of the samples kept aside. start: theta_0 (N,), flat. ridge: how strongly the weights
    are held there, positive. inner_steps: of L-BFGS. adjoint_steps: of the conjugate gradients, at most.
    """

    parameters: Sequence[nn.Parameter]
    groups: Sequence[Callable[[], Tensor]]
    outer: Callable[[], Tensor]
    start: Tensor
    ridge: float
    inner_steps: int = 10
    adjoint_steps: int = 10

    def __call__(self, weights: Floats) -> tuple[float, Floats]:
        """Phi(w) and its gradient (G,). The weights of the network are theta*(w) afterwards: see `restore`."""
        w = torch.as_tensor(weights).to(self.start)
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            self._solve(w)
            value = self.outer()
            force = self._gradient(value)
            shares = w.clone().requires_grad_()
            # through the shares too: their derivative of <gradient, v> is <grad L_g, v> for all groups at once
            inner = self._gradient(self._inner(shares), create_graph=True)
            adjoint = conjugate_gradients(
                lambda v: self._gradient(inner @ v, retain_graph=True) + self.ridge * v, force, self.adjoint_steps
            )
            [pull] = torch.autograd.grad(inner @ adjoint, shares)
        return float(value.detach()), -pull.cpu().double().numpy()

    def restore(self) -> None:
        """Set the weights of the network to theta_0 again."""
        nn.utils.vector_to_parameters(self.start.clone(), self.parameters)  # they become views of what they are given

    def _solve(self, weights: Tensor) -> None:
        """Set the weights of the network to theta*(w), as far as `inner_steps` lead."""
        self.restore()
        optimiser = torch.optim.LBFGS(
            self.parameters, max_iter=self.inner_steps, max_eval=2 * self.inner_steps, history_size=self.inner_steps,
            tolerance_grad=1e-12, tolerance_change=1e-12, line_search_fn="strong_wolfe",
        )  # fmt: skip

        def objective() -> Tensor:
            optimiser.zero_grad()
            away = nn.utils.parameters_to_vector(self.parameters) - self.start
            loss = self._inner(weights) + self.ridge / 2 * away.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimiser.step(objective)  # type: ignore[no-untyped-call]
        optimiser.zero_grad()

    def _inner(self, weights: Tensor) -> Tensor:
        """sum_g w_g L_g, without the ridge; groups that weigh nothing count all the same, for their gradient."""
        return torch.stack([w * loss() for w, loss in zip(weights, self.groups, strict=True)]).sum()

    def _gradient(self, value: Tensor, *, create_graph: bool = False, retain_graph: bool = False) -> Tensor:
        """(N,) the gradient of a scalar, zero for weights that it does not depend on."""
        found = torch.autograd.grad(
            value, list(self.parameters), create_graph=create_graph, retain_graph=create_graph or retain_graph,
            allow_unused=True, materialize_grads=True,
        )  # fmt: skip
        return torch.cat([part.reshape(-1) for part in found])


def conjugate_gradients(product: Callable[[Tensor], Tensor], b: Tensor, most: int, tolerance: float = 1e-10) -> Tensor:
    """x with A x = b for a symmetric A that is known by its products (Hestenes and Stiefel, 1952).

    product: v (N,) -> A v (N,). b: (N,). It ends where |A x - b| <= tolerance |b|, after `most` products, or at a
    direction that A does not curve upwards along, with the x reached by then: the Hessian of a network may have some.
    """
    x, residual, direction = torch.zeros_like(b), b.clone(), b.clone()
    square = float(residual @ residual)
    goal = tolerance**2 * square
    for _ in range(most):
        if square <= goal:
            break
        image = product(direction)
        curvature = float(direction @ image)
        if curvature <= 0:
            break
        step = square / curvature
        x = x + step * direction
        residual = residual - step * image
        before, square = square, float(residual @ residual)
        direction = residual + square / before * direction
    return x
