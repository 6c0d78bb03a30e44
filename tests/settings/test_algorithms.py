"""What is said of settings that train without a fault and learn little."""

import pytest

from settings.algorithms import describe_adam_epsilon
from settings.mistakes import Mistake


@pytest.mark.parametrize(
    ("words", "warned"),
    [
        (("algo=a3c",), False),
        (("algo=a3c", "algo.optimizer=adam"), True),
        (("algo=a3c", "algo.optimizer=adam", "algo.optimizer_eps=1e-5"), False),
        (("algo=a2c", "algo.optimizer=adam"), False),
        (("algo=dqn",), False),
    ],
)
def test_the_epsilon_of_rmsprop_is_not_left_to_adam_in_silence(words, warned, compose):
    sentence = describe_adam_epsilon(compose(words)["algo"])
    assert (sentence is not None) == warned
    assert not warned or sentence.startswith("algo.optimizer_eps=0.004 ") and "algo.optimizer_eps=1e-5" in sentence


@pytest.mark.parametrize("algo", ["pg", "a2c", "a3c", "ppo", "dqn"])
def test_an_epsilon_of_0_with_which_a_gradient_of_0_makes_weights_nan_is_refused(algo, compose):
    with pytest.raises(Mistake, match=r"^algo\.optimizer_eps=0"):
        compose([f"algo={algo}", "env=cartpole", "algo.optimizer_eps=0"])
