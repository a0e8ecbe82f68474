"""A forecaster of one's own: the weighted mean of the last six steps of the cell itself, whose weights are learned."""

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from forecasters import Recipe


class WeightedMean(ModelMixin, ConfigMixin):
    """See forecasters.Forecaster."""

    @register_to_config
    def __init__(self, per_day, services=1, steps=6):
        super().__init__()
        self.per_day, self.services, self.side, self.horizon = per_day, services, 1, 1
        self.lags = tuple(range(steps, 0, -1))  # steps back that it sees, the oldest first
        self.context = steps
        self.weight = torch.nn.Parameter(torch.zeros(steps))

    def forward(self, past):  # (batch, lags, 1, 1, services) -> (batch, 1, services)
        return torch.einsum("bls,l->bs", past[:, :, 0, 0], self.weight.softmax(0))[:, None]

    def loss(self, past, future):
        return torch.nn.functional.mse_loss(self(past), future)


weighted_mean = Recipe(WeightedMean)
