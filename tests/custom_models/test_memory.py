"""The LSTM: whole pieces give what single steps give, and a new game starts from nothing."""

import numpy as np
import pytest
import torch

from custom_models.memory import LSTM

T, N, D, H = 9, 4, 5, 3


def make_memory(init: str = "torch") -> LSTM:
    torch.manual_seed(0)
    return LSTM(D, H, init).double()  # double: what differs is not rounding


def some_steps(seed: int = 1) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Features, a state that is not zero, and starts: at the first step, several at once, next to each other, none."""
    torch.manual_seed(seed)
    features, h, c = torch.randn(T, N, D).double(), torch.randn(N, H).double(), torch.randn(N, H).double()
    starts = torch.zeros(T, N, dtype=torch.bool)
    for t, n in ((0, 1), (3, 0), (3, 1), (4, 1), (8, 2)):
        starts[t, n] = True
    return features.requires_grad_(), (h.requires_grad_(), c.requires_grad_()), starts


def step_by_step(memory: LSTM, features, state, starts):
    """One step after the other, the state of each env set to zero where its game starts."""
    outputs = []
    for t in range(len(features)):
        h, c = (torch.where(starts[t, :, None], 0.0, x) for x in state)
        output, state = memory.run_step(features[t], (h, c))
        outputs.append(output)
    return torch.stack(outputs), state


def test_a_step_is_the_textbook_s():
    memory = make_memory()
    features, (h, c), _ = some_steps()
    output, state = memory.run_step(features[0], (h, c))
    wx, wh, bx, bh = memory.cells.parameters()
    i, f, g, o = (features[0] @ wx.T + h @ wh.T + bx + bh).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    torch.testing.assert_close(state[1], c)
    torch.testing.assert_close(state[0], o.sigmoid() * c.tanh())
    torch.testing.assert_close(output, state[0], atol=0, rtol=0)


def test_pieces_give_what_single_steps_give():
    memory, (features, state, starts) = make_memory(), some_steps()
    outputs, (h, c) = memory.run_sequence(features, state, starts)
    reference, (reference_h, reference_c) = step_by_step(memory, features, state, starts)
    assert outputs.shape == (T, N, H)
    torch.testing.assert_close(outputs, reference, atol=1e-12, rtol=0)
    torch.testing.assert_close(h, reference_h, atol=1e-12, rtol=0)
    torch.testing.assert_close(c, reference_c, atol=1e-12, rtol=0)


@pytest.mark.parametrize("seed", range(5))
def test_games_may_start_anywhere(seed):
    memory, (features, state, _) = make_memory(), some_steps(seed)
    starts = torch.from_numpy(np.random.default_rng(seed).random((T, N)) < seed / 8)
    outputs, _ = memory.run_sequence(features, state, starts)
    reference, _ = step_by_step(memory, features, state, starts)
    torch.testing.assert_close(outputs, reference, atol=1e-12, rtol=0)


def test_gradients_of_pieces_are_gradients_of_single_steps():
    memory, (features, state, starts) = make_memory(), some_steps()
    wanted = [features, *state, *memory.parameters()]
    weights = torch.randn(T, N, H).double()  # a sum without weights would not see outputs that changed places
    ours = torch.autograd.grad((memory.run_sequence(features, state, starts)[0] * weights).sum(), wanted)
    reference = torch.autograd.grad((step_by_step(memory, features, state, starts)[0] * weights).sum(), wanted)
    for mine, theirs in zip(ours, reference, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=0)
        assert mine.abs().sum() > 0


@pytest.mark.parametrize("junk", [1e3, float("nan")])
def test_nothing_from_before_a_start_is_remembered(junk):
    memory, (features, (h, c), _) = make_memory(), some_steps()
    starts = torch.zeros(T, N, dtype=torch.bool)
    starts[4, 2] = True
    clean, _ = memory.run_sequence(features, (h, c), starts)
    with torch.no_grad():
        features[:4, 2], h[2], c[2] = junk, junk, junk
    spoilt, _ = memory.run_sequence(features, (h, c), starts)
    assert torch.equal(spoilt[4:, 2], clean[4:, 2])
    assert not torch.equal(spoilt[:4, 2], clean[:4, 2])
    others = [0, 1, 3]
    assert torch.equal(spoilt[:, others], clean[:, others])


def test_no_gradient_flows_from_a_game_into_the_one_before():
    memory, (features, (h, c), _) = make_memory(), some_steps()
    starts = torch.zeros(T, N, dtype=torch.bool)
    starts[4, 2] = True
    memory.run_sequence(features, (h, c), starts)[0][4:].sum().backward()
    assert (features.grad[:4, 2] == 0).all() and (h.grad[2] == 0).all() and (c.grad[2] == 0).all()
    assert (features.grad[4:, 2] != 0).all() and (features.grad[:4, 0] != 0).all() and (h.grad[0] != 0).all()


def test_a_game_that_goes_on_begins_with_the_state_it_had():
    memory, (features, state, starts) = make_memory(), some_steps()
    whole, end = memory.run_sequence(features, state, starts)
    first, middle = memory.run_sequence(features[:4], state, starts[:4])
    second, other_end = memory.run_sequence(features[4:], middle, starts[4:])
    torch.testing.assert_close(torch.cat([first, second]), whole, atol=1e-12, rtol=0)
    torch.testing.assert_close(other_end, end, atol=1e-12, rtol=0)
    forgotten, _ = memory.run_sequence(features[4:], memory.make_initial_state(N), starts[4:])
    assert not torch.allclose(forgotten[:, 0], second[:, 0])


def test_before_a_game_nothing_is_remembered():
    h, c = make_memory().make_initial_state(6)
    assert h.shape == c.shape == (6, H) and not h.any() and not c.any()
    assert h.data_ptr() != c.data_ptr()
    assert LSTM(D, H, "torch").make_initial_state(1)[0].dtype == torch.float32


def test_orthogonal_cells_have_gain_one_and_biases_of_zero():
    for name, parameter in make_memory("orthogonal").cells.named_parameters():
        if "bias" in name:
            assert not parameter.any()
        else:
            torch.testing.assert_close(
                parameter.T @ parameter, torch.eye(parameter.shape[1]).double(), atol=1e-6, rtol=0
            )


@pytest.mark.parametrize("init", ["torch", "he_uniform"])
def test_other_cells_are_filled_as_torch_fills_them(init):
    for parameter in make_memory(init).cells.parameters():
        assert 0 < parameter.abs().max() <= H**-0.5
