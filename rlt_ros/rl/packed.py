"""All parameters of a network in one vector: a step, a norm, an average is one operation, not one a tensor."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


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
    """

    def __init__(self, network: Network, precision: torch.dtype, *, trained: bool = True) -> None:
        """Pack `network`.

        Args:
            network: in float32.
            precision: of the products; parameters and optimiser stay float32.
            trained: gradients will be wanted.
        """
        self.network = network.requires_grad_(trained)
        self.parameters = pack(network)
        self.compute = network
        self._computing_parameters = self.parameters
        if precision != torch.float32:
            self.compute = copy.deepcopy(network).to(precision)
            self._computing_parameters = pack(self.compute)
        if trained:
            self.parameters.grad = torch.zeros_like(self.parameters)
            self._gradient = self.parameters.grad
            if self.compute is not network:
                self._gradient = torch.zeros_like(self._computing_parameters)
            parts = self._gradient.split([p.numel() for p in self.compute.parameters()])
            for parameter, part in zip(self.compute.parameters(), parts, strict=True):
                parameter.grad = part.view_as(parameter)

    def refresh(self) -> None:
        """Bring the computing copy up to date after `parameters` was written."""
        if self._computing_parameters is not self.parameters:
            self._computing_parameters.copy_(self.parameters)

    def gradient(self, loss: Tensor) -> Tensor:
        """Gradient of `loss`, kept in `parameters.grad`; of no other network any is computed."""
        gradient = self.parameters.grad
        assert gradient is not None
        self._gradient.zero_()
        torch.autograd.backward(loss, inputs=list(self.compute.parameters()))
        if self._gradient is not gradient:
            gradient.copy_(self._gradient)
        return gradient


def best_precision() -> torch.dtype:
    """bfloat16 where the processor multiplies it natively, float32 elsewhere."""
    # Private functions, the only ones that tell; without them the safe answer.
    native = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return torch.bfloat16 if any(check is not None and check() for check in native) else torch.float32
