"""All parameters of a network in one vector: a step, a norm, an average is one operation, not one a tensor."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

_LARGEST_GRADIENT = 10.0
"""Norm that a gradient is clipped to: against the one batch in thousands that would throw everything away."""


def pack(network: nn.Module) -> Tensor:
    """Move a network's parameters into one vector, of which they become views.

    Returns:
        The vector; writing to it changes the network.
    """
    parameters = list(network.parameters())
    flat = torch.cat([parameter.detach().flatten() for parameter in parameters])
    for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.data = part.view_as(parameter)
    return flat


class Packed(Generic[Network]):
    """A network with its packed parameters, and the copy of it that computes.

    Attributes:
        network: in float32; what is exported and saved.
        compute: computes the updates: the network itself, or a copy in a lower precision.
        parameters: of `network`, as one vector.
        optimiser: of a network that is trained, else None.
    """

    def __init__(
        self,
        network: Network,
        precision: torch.dtype,
        rate: float | None = None,
        largest_gradient: float = _LARGEST_GRADIENT,
    ) -> None:
        """Pack `network`.

        Args:
            network: in float32.
            precision: of the products; parameters and optimiser stay float32.
            rate: learning rate; None: it is not trained, but follows another.
            largest_gradient: norm that a gradient is clipped to.
        """
        self._largest_gradient = largest_gradient
        self.network = network.requires_grad_(rate is not None)
        self.parameters = pack(network)
        self.compute = network
        self._computing_parameters = self.parameters
        if precision != torch.float32:
            self.compute = copy.deepcopy(network).to(precision)
            self._computing_parameters = pack(self.compute)
        self.optimiser: torch.optim.Adam | None = None
        if rate is not None:
            self.parameters.grad = torch.zeros_like(self.parameters)
            self._gradient = self.parameters.grad
            if self.compute is not network:
                self._gradient = torch.zeros_like(self._computing_parameters)
            parts = self._gradient.split([p.numel() for p in self.compute.parameters()])
            for parameter, part in zip(self.compute.parameters(), parts, strict=True):
                parameter.grad = part.view_as(parameter)
            self.optimiser = torch.optim.Adam([self.parameters], lr=rate, fused=True)

    def refresh(self) -> None:
        """Bring the computing copy up to date after `parameters` was written."""
        if self._computing_parameters is not self.parameters:
            self._computing_parameters.copy_(self.parameters)

    @torch.no_grad()
    def follow(self, other: Packed[Network], share: float) -> None:
        """Move by `share` of the way towards another's parameters."""
        self.parameters.lerp_(other.parameters, share)
        self.refresh()

    def descend(self, loss: Tensor) -> None:
        """One clipped step down the gradient of `loss`; of no other network any is computed."""
        gradient = self.parameters.grad
        assert gradient is not None
        assert self.optimiser is not None
        self._gradient.zero_()
        torch.autograd.backward(loss, inputs=list(self.compute.parameters()))
        if self._gradient is not gradient:
            gradient.copy_(self._gradient)
        norm = torch.linalg.vector_norm(gradient)
        gradient *= (self._largest_gradient / (norm + 1e-6)).clamp(max=1.0)
        self.optimiser.step()
        self.refresh()

    def stored(self) -> dict[str, Tensor]:
        """Parameters and the optimiser's state by name, for `restore`."""
        out = dict(self.network.state_dict())
        if self.optimiser is not None:
            state = self.optimiser.state_dict()["state"].get(0, {})
            out |= {f"optimiser.{key}": value for key, value in state.items()}
        return out

    def restore(self, stored: dict[str, Tensor]) -> None:
        """Take over what `stored` gave.

        Raises:
            KeyError, RuntimeError: something is missing, or has another shape.
        """
        state = {key.removeprefix("optimiser."): v for key, v in stored.items() if key.startswith("optimiser.")}
        self.network.load_state_dict({key: v for key, v in stored.items() if not key.startswith("optimiser.")})
        if self.optimiser is not None and state:
            self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": {0: state}})
        self.refresh()


def precision_of(name: str, device: torch.device) -> torch.dtype:
    """The type of the products: that of the name, or for `auto` bfloat16 where a CPU multiplies it natively."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    # Private functions, the only ones that tell; without them the safe answer.
    native = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    has_it = device.type == "cpu" and any(check is not None and check() for check in native)
    return torch.bfloat16 if has_it else torch.float32
