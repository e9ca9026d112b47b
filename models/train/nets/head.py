"""What the heads over a window have in common: half of the answer is the mean of the single crops' logits."""

from __future__ import annotations

import torch
from torch import nn


class WithFrameMean(nn.Module):
    """Features of a window [N, T, F] -> logits [N, 2] (real, fake). Any T; trained on 20 to 40.

    The encoder learnt to judge single crops from far more clips than there are windows; `over_time`, which a net's head says,
    learns what that leaves over. Alone, it did little better than chance on people it had not seen.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.frame = nn.Linear(features, 2).requires_grad_(False)

    def start_from(self, encoder: nn.Module) -> None:
        self.frame.load_state_dict(encoder.frame.state_dict())

    def over_time(self, windows: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return 0.5 * self.over_time(windows) + 0.5 * self.frame(windows).mean(dim=1)
