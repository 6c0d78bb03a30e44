"""A torso from a user's own module: `model.torso=my_module:MyTorso`.

    class MyTorso(nn.Module):
        def __init__(self, model, shape):   # the `model.` settings; the shape of one observation
            ...
            self.size = ...                 # D, the features of the output

        def forward(self, obs):             # fp32 [B, *shape] -> [B, D]
            ...

Pictures have the shape [stack * channels, y, x], the oldest frame first, with pixels from 0 to 1, or from -1 to 1 where
`model.zero_mean` is true. All other observations come as they are, in fp32. Where `model.dtype` is bfloat16, torch's
autocast lets layers compute in it.

A class that is to be faster can have a third method, `pack()`: what it returns is the second argument of
`forward(obs, packed)`. It is called once per rollout by env runners and in each forward pass by learners, so gradients
have to pass through it. Every parameter has to take part in the features, and the features of an observation must not
depend on the others of the batch (no BatchNorm) or on chance (no dropout): a policy that acts is the one that learns.
"""

from numbers import Integral
from typing import Any

import torch
from torch import nn

from custom_models.cuda_graphs import list_leaves
from custom_models.torsos import convert_pixels, unpack_blocks
from settings.mistakes import Mistake
from settings.own_parts import describe_error, import_class


class OwnTorso(nn.Module):
    """A user's torso with the methods of the suite's torsos.

    Args:
        model: the `model.` settings with a dtype that is not auto and, for pictures, `pixels`.
        shape: of one observation; of pictures in blocks.

    Attributes:
        net: the object of the user's class.
        size: D, the features of the output.

    Raises:
        Mistake: the class cannot be imported, or its constructor fails.
    """

    def __init__(self, model: dict, shape: tuple[int, ...]):
        super().__init__()
        self.pixels, self.zero_mean = model.get("pixels"), model.get("zero_mean", False)
        self.dtype, name = getattr(torch, model["dtype"]), model["torso"]
        kind = import_class(name, "model.torso")
        if not issubclass(kind, nn.Module) or "forward" not in dir(kind) or kind.forward is nn.Module.forward:
            raise Mistake(
                f"model.torso={name}: it is no torch.nn.Module with a method forward(obs); see docs/extending.md"
            )
        if self.pixels:
            shape = tuple(self._convert(torch.zeros(1, *shape, dtype=torch.uint8)).shape[1:])
        try:
            self.net: Any = kind({key: value for key, value in model.items() if key != "pixels"}, shape)
        except (Exception, SystemExit) as error:  # a user's constructor may raise anything
            raise Mistake(
                f"model.torso={name}: it cannot be made for observations of shape {shape} ({describe_error(error)})"
            ) from error
        size = getattr(self.net, "size", None)
        if not isinstance(size, Integral) or size < 1:
            raise Mistake(
                f"model.torso={name}: its constructor has to set self.size, the number of features; it is {size}"
            )
        self.size = int(size)
        if lazy := [key for key, one in self.net.named_parameters() if torch.nn.parameter.is_lazy(one)]:
            raise Mistake(
                f"model.torso={name}: its parameter {lazy[0]} has no size yet; compute the size from `shape`, or run "
                "the layer once in the constructor"
            )

    def pack(self) -> Any:
        """Return what `forward` gets as `packed`: the result of the torso's own `pack`, or None where it has none."""
        return self.net.pack() if hasattr(self.net, "pack") else None

    def forward(self, obs: torch.Tensor, packed: Any) -> torch.Tensor:
        """Return features, fp32 [B, size], for observations [B, ...], pixels as uint8 stacks in blocks."""
        x = self._convert(obs)
        with torch.autocast(x.device.type, self.dtype, enabled=self.dtype == torch.bfloat16):
            features = self.net(x) if packed is None else self.net(x, packed)
        return features.float()

    def _convert(self, obs: torch.Tensor) -> torch.Tensor:
        """Return observations as the user's torso gets them, fp32 [B, *shape]."""
        if not self.pixels:
            return obs.float()
        x = convert_pixels(unpack_blocks(obs, self.pixels), torch.float32, self.zero_mean).permute(0, 3, 1, 2)
        return x.div_(128 if self.zero_mean else 255)


def run_torso(torso: OwnTorso, name: str, obs: torch.Tensor) -> torch.Tensor:
    """Return the features [B, size] that a user's torso makes of observations [B, ...].

    Raises:
        Mistake: `forward` raises an error or returns another shape.
    """
    try:
        features = torso(obs, torso.pack())
    except (Exception, SystemExit) as error:  # a user's network may raise anything
        seen = list(torso._convert(obs).shape)
        raise Mistake(
            f"model.torso={name}: it cannot be run on observations {seen} ({describe_error(error)})"
        ) from error
    if features.shape != (len(obs), torso.size):
        raise Mistake(
            f"model.torso={name}: its output is {list(features.shape)} where the batch has {len(obs)} observations and "
            f"self.size is {torso.size}; return [B, size]"
        )
    return features


def try_torso(model: dict, obs: torch.Tensor) -> None:
    """Try a user's torso with some observations, together and one alone, and refuse it where it cannot work.

    Args:
        model: as in OwnTorso.
        obs: observations [B, ...] of the environment, B > 1.

    Raises:
        Mistake: its class cannot be used, `forward` raises an error, returns another shape than [B, size], NaN, or
            features that depend on chance or on the rest of the batch, or a parameter has no part in the features; or
            `pack` returns something else than tensors, or tuples, lists and dicts of them.
    """
    torso, name = OwnTorso(model, tuple(obs.shape[1:])), model["torso"]
    before = obs.clone()
    features, again, alone = (run_torso(torso, name, part) for part in (obs, obs, obs[:1]))
    if not torch.equal(obs, before):
        raise Mistake(f"model.torso={name}: its forward changes obs, which others read, too; leave obs as it is")
    for leaf in list_leaves(torso.pack()):
        if not isinstance(leaf, torch.Tensor | None):
            raise Mistake(
                f"model.torso={name}: its pack() returns a {type(leaf).__name__}, which a CUDA graph cannot follow; "
                "return tensors, or tuples, lists and dicts of them"
            )
    if not features.isfinite().all():
        raise Mistake(f"model.torso={name}: its features are NaN or infinite already, before it has learned")
    if not torch.equal(features, again):
        raise Mistake(
            f"model.torso={name}: its features are not the same twice; a policy that acts has to be the one that "
            "learns, so leave out what draws random numbers, such as dropout, and what forward changes in the module"
        )
    rtol, atol = (0.05, 0.05) if torso.dtype == torch.bfloat16 else (1e-3, 1e-4)  # bf16 rounds
    if not torch.allclose(features[:1], alone, rtol, atol):
        raise Mistake(
            f"model.torso={name}: the features of an observation depend on the others in its batch; leave out what "
            "looks at all of them, such as BatchNorm"
        )
    used = features.sum()
    if used.requires_grad:
        used.backward()
    unused = [name for name, one in torso.net.named_parameters() if one.requires_grad and one.grad is None]
    if unused:
        raise Mistake(
            f"model.torso={name}: its parameter {unused[0]} has no part in the features, so it would never learn; "
            "remove it, or set requires_grad to False"
        )
