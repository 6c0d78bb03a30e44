"""The memory of a model: an LSTM over the features of a torso, whose state is 0 where a game begins. Plain torch, fp32.

features [T, N, D], state before them, starts [T, N] -> [T, N, H], state after them
"""

from typing import Any

import torch
from torch import nn

State = tuple[torch.Tensor, ...]  # h and c, each float32 [N, H]; () without an LSTM


class LSTM(nn.Module):
    """One layer of LSTM cells.

    Args:
        input_size: D, features of the input.
        size: H, features of the output.
        init: `orthogonal` (Huang et al. 2022, detail 32: gain 1, biases 0); otherwise torch's default.
    """

    def __init__(self, input_size: int, size: int, init: str):
        super().__init__()
        self.size = size
        self.cells: Any = nn.LSTM(input_size, size)
        if init == "orthogonal":
            for name, parameter in self.cells.named_parameters():
                nn.init.orthogonal_(parameter, 1.0) if "weight" in name else nn.init.zeros_(parameter)

    def make_initial_state(self, num_envs: int) -> State:
        """Return the state before the first step of a game: zeros."""
        zeros = self.cells.weight_hh_l0.new_zeros(num_envs, self.size)
        return zeros, zeros.clone()

    def run_step(self, features: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """Return the output [N, H] of one step with features [N, D], and the state after it."""
        cells = self.cells
        weights = cells.weight_ih_l0, cells.weight_hh_l0, cells.bias_ih_l0, cells.bias_hh_l0
        state = torch.lstm_cell(features, state, *weights)  # a call of nn.LSTM would take a millisecond more
        return state[0], state

    def run_sequence(self, features: torch.Tensor, state: State, starts: torch.Tensor) -> tuple[torch.Tensor, State]:
        """Run over T steps. The steps are cut where a game starts in any env; torch's LSTM runs over each piece.

        Args:
            features: float32 [T, N, D].
            state: before the first step.
            starts: bool [T, N], the step's observation is the first of a new game: the state before it is zero.

        Returns:
            float32 [T, N, H], and the state after the last step.
        """
        cuts = [t for t in starts.any(1).nonzero()[:, 0].tolist() if t > 0]
        h, c = state
        pieces = []
        for begin, end in zip([0, *cuts], [*cuts, len(features)], strict=True):
            forget = starts[begin, :, None]
            h, c = h.masked_fill(forget, 0), c.masked_fill(forget, 0)
            piece, (h, c) = self.cells(features[begin:end], (h[None], c[None]))
            h, c = h[0], c[0]
            pieces.append(piece)
        return torch.cat(pieces), (h, c)
