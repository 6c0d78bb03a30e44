"""The settings of a network.

Their values stand in experiments/model/; custom_models/ builds the network.
"""

from dataclasses import dataclass
from typing import Any

from settings.own_parts import is_own
from settings.setting import MANY, any_value, at_least, one_of

CNNS = ("nature_cnn", "a3c_cnn", "cnn42", "rllib42", "minigrid_cnn")  # as in custom_models/convolutions.py
RESNETS = ("impala",)


@dataclass(frozen=True)
class ModelSettings:
    """The settings of every network."""

    torso: str = one_of(
        (*CNNS, *RESNETS, "mlp"), "the network from observations to features; module:Class is one of your own"
    )
    activation: str = one_of(("relu", "elu", "tanh"), "activation function after each layer")
    init: str = one_of(("orthogonal", "he_uniform", "torch"), "initialisation of the weights")
    zero_mean: bool = any_value("scale pixels from -1 to 1 instead of 0 to 1")
    shared_trunk: bool = any_value("policy and value head share one torso; false: each has its own")
    lstm_size: int | None = at_least(1, "units of an LSTM between torso and heads; null: none", most=MANY)
    dtype: str = one_of(
        ("auto", "float32", "bfloat16"), "dtype of the torso's arithmetic; auto: bfloat16 where the hardware has it"
    )


@dataclass(frozen=True)
class CNNSettings(ModelSettings):
    """The settings of a CNN: convolutions, and at most one fully connected layer."""

    hidden: int | None = at_least(1, "units of the fully connected layer; null: none", most=MANY)


@dataclass(frozen=True)
class ResNetSettings(ModelSettings):
    """The settings of a ResNet: residual blocks and a fully connected layer, as in Espeholt et al. 2018."""

    hidden: int = at_least(1, "units of the fully connected layer", most=MANY)


@dataclass(frozen=True)
class MLPSettings(ModelSettings):
    """The settings of an MLP: fully connected layers, for observations without pixels."""

    hidden: list[int] = at_least(1, "units of each fully connected layer", most=MANY)


MODELS: dict[str, type[ModelSettings]] = {
    **dict.fromkeys(CNNS, CNNSettings),
    **dict.fromkeys(RESNETS, ResNetSettings),
    "mlp": MLPSettings,
}


@dataclass(frozen=True)
class OwnTorsoSettings(ModelSettings):
    """The settings of a torso from a user's own module, which may read more than these from its YAML file."""

    torso: str = any_value("the class of a torso, module:Class; see custom_models/own_torso.py")
    activation: str = one_of(("relu", "elu", "tanh"), "an activation function, if the class reads it")
    hidden: Any = any_value("what the class makes of it")


def get_model_class(torso: Any) -> type[ModelSettings]:
    """Return the class of the settings of a torso; of an unknown one that of `mlp`, whose check refuses it."""
    return OwnTorsoSettings if is_own(torso) else MODELS.get(str(torso), MLPSettings)
