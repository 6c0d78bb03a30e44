"""Probes of the network: its layers beside ordinary ones of PyTorch, its first weights and policy, its memory."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from custom_models.convolutions import CONVS
from probes.probe import Finding, Untested, judge, probe
from probes.subject import Subject
from settings.own_parts import is_own

MODELS = "custom_models/"


def read_observations(subject: Subject) -> torch.Tensor:
    """Return observations of the live Rollout [B, ...], as the network takes them."""
    return subject.batch["obs"].flatten(0, 1)[:64]


def run_network(net: Any, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the policy's parameters [B, P] and the values [B] of observations [B, ...]; memory is empty."""
    with torch.no_grad():
        return net.act(obs, net.pack(), net.make_initial_state(len(obs)))[:2]


def run_plainly(net: Any, obs: torch.Tensor, layout: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `run_network` returns, computed by ordinary layers in fp32 from the same observations [B, ...]."""
    if not hasattr(net.torso, "convs"):
        x = run_layers(net, net.torso, obs)
    else:
        x = scale_pixels(net.torso, read_pixels(obs, layout))
        for conv, layer in zip(net.torso.convs, net.torso.layers, strict=True):
            rows, columns = (layer.compute_padding(side) for side in x.shape[-2:])
            x = activate(net, F.conv2d(F.pad(x, (*columns, *rows)), conv.weight, conv.bias, layer.stride))
        x = x.permute(0, 2, 3, 1).flatten(1)
        if net.torso.fc is not None:
            x = activate(net, net.torso.fc(x))
    policy = net.policy(x)
    if net.log_std is not None:
        policy = torch.cat([policy, net.log_std.expand_as(policy)], -1)
    return policy, net.value(x if net.value_torso is None else run_layers(net, net.value_torso, obs))[:, 0]


def read_pixels(obs: torch.Tensor, layout: Any) -> torch.Tensor:
    """Return stacks in blocks [B, h, w, stack * d] as pixels [B, stack * channels, height, width]."""
    height, width, channels = layout.picture_shape
    block, (rows, columns, _) = layout.block, layout.frame_shape
    pixels = obs.reshape(len(obs), rows, columns, layout.stack, block, block, channels)
    return pixels.permute(0, 3, 6, 1, 4, 2, 5).reshape(len(obs), -1, height, width)


def scale_pixels(torso: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Return pixels from 0 to 1, or from -1 to 1 where the model has `zero_mean`."""
    return (pixels.float() - 128) / 128 if torso.zero_mean else pixels.float() / 255


def run_layers(net: Any, torso: Any, obs: torch.Tensor) -> torch.Tensor:
    """Return the features of fully connected layers [B, D] for observations that are numbers or pixels."""
    x = (scale_pixels(torso, obs) if obs.dtype == torch.uint8 else obs.float()).flatten(1)
    for layer in torso.layers:
        x = activate(net, layer(x))
    return x


def activate(net: Any, x: torch.Tensor) -> torch.Tensor:
    """Return the model's activation of x."""
    return {"relu": torch.relu, "elu": F.elu, "tanh": torch.tanh}[net.model_config["activation"]](x)


@probe(
    "network",
    f"{MODELS}torsos.py, actor_critic.py",
    "all: Conv2d on pixels / 255, one fully connected layer, two heads",
)
def compare_network(subject: Subject) -> Finding:
    """Policy and values equal those of ordinary PyTorch layers with the same weights."""
    net, torso = subject.spread_learner.net, subject.settings["model"]["torso"]
    two_torsos_of_pixels = net.value_torso is not None and torso in CONVS
    if net.recurrent or two_torsos_of_pixels or not (torso in CONVS or torso == "mlp"):
        memory = " with an LSTM" if net.recurrent else ""
        raise Untested(f"{torso}{memory} is not written out here; tests/custom_models has comparisons")
    obs = read_observations(subject)
    policy, values = run_network(net, obs)
    with torch.no_grad():
        plain_policy, plain_values = run_plainly(net, obs, subject.runner.layout)
    worst = max(float((policy - plain_policy).abs().max()), float((values - plain_values).abs().max()))
    scale = max(1.0, float(plain_values.abs().max()), float(plain_policy.abs().max()))
    allowed = (0.05 if subject.plan.dtype == "bfloat16" else 1e-3) * scale
    return judge(worst < allowed, f"{len(obs)} observations in {subject.plan.dtype}: largest difference {worst:.1e}")


@probe(
    "network",
    f"{MODELS}convolutions.py",
    "Mnih et al. 2015: 32 8x8/4, 64 4x4/2, 64 3x3/1, 512; Espeholt et al. 2018: Impala",
)
def list_layers(subject: Subject) -> Finding:
    """Its layers are the paper's."""
    torso, names = subject.net.torso, []
    for conv in getattr(torso, "convs", []):
        names.append(f"{conv.out_channels} {conv.kernel_size[0]}x{conv.kernel_size[1]}/{conv.stride[0]}")
    for layer in [getattr(torso, "fc", None), *getattr(torso, "layers", [])]:
        if isinstance(layer, nn.Linear):
            names.append(str(layer.out_features))
    memory = f", LSTM {subject.net.memory.size}" if subject.net.recurrent else ""
    count = sum(p.numel() for p in subject.net.parameters())
    found, torso_name = f"{', '.join(names[:8])}{memory}; {count:,} parameters", subject.settings["model"]["torso"]
    if torso_name != "nature_cnn":
        raise Untested(f"{torso_name} is not compared with a paper's; it has {found}")
    padded = any(layer.same for layer in torso.layers)
    right = names[:3] == ["32 8x8/4", "64 4x4/2", "64 3x3/1"] and not padded
    return judge(right, found, differs=names[3:4] != ["512"])


def list_linear_layers(subject: Subject) -> list[tuple[str, Any, float]]:
    """Return name, layer and orthogonal gain of every layer of torso, the critic's own torso, and heads."""
    named: list[tuple[str, Any, float]] = []
    for torso, name in ((subject.net.torso, "layer"), (subject.net.value_torso, "critic's layer")):
        hidden = [*getattr(torso, "convs", []), *([torso.fc] if getattr(torso, "fc", None) is not None else [])]
        hidden += [layer for layer in getattr(torso, "layers", []) if isinstance(layer, nn.Linear)]
        named += [(f"{name} {n}", layer, 2**0.5) for n, layer in enumerate(hidden, 1)]
    return [*named, ("policy", subject.net.policy, 0.01), ("value", subject.net.value, 1.0)]


@probe(
    "network",
    f"{MODELS}torsos.py: initialize_layer",
    "baselines and CleanRL the same (Huang et al. 2022, detail 2); the paper does not say",
    {"fresh"},
)
def measure_gains(subject: Subject) -> Finding:
    """First weights are orthogonal, with gains of 1.41 in the torso, 0.01 policy, 1 value; biases 0."""
    if subject.settings["model"]["init"] != "orthogonal":
        raise Untested(f"model.init={subject.settings['model']['init']}: other first weights were asked for")
    if is_own(subject.settings["model"]["torso"]):
        raise Untested("the torso is your own, and so are its first weights")
    worst, bias, gains = 0.0, 0.0, []
    for name, layer, gain in list_linear_layers(subject):
        singular = torch.linalg.svdvals(layer.weight.detach().flatten(1).double())
        worst = max(worst, float((singular - gain).abs().max()) / gain)
        bias = max(bias, float(layer.bias.detach().abs().max()))
        gains.append(f"{name} {float(singular.mean()):.3g}")
    return judge(worst < 1e-3 and bias == 0, f"{', '.join(gains)}; largest bias {bias:g}")


@probe(
    "network",
    f"{MODELS}actor_critic.py: HEAD_GAINS",
    "Huang et al. 2022, detail 2; Andrychowicz et al. 2021 find that it matters most of all",
    {"fresh", "discrete"},
)
def measure_entropy(subject: Subject) -> Finding:
    """The first policy is nearly uniform."""
    subject.require_choice()
    policy, _ = run_network(subject.net, read_observations(subject))
    entropy, most = float(subject.net.Policy(policy).entropy().mean()), math.log(subject.count_actions())
    if subject.settings["model"]["init"] != "orthogonal":
        raise Untested(f"model.init={subject.settings['model']['init']}: other first weights were asked for")
    return judge(entropy > 0.99 * most, f"entropy {entropy:.5f} of ln {subject.count_actions()} = {most:.5f}")


@probe(
    "network",
    f"{MODELS}torsos.py",
    "all: no layer mixes rows",
)
def compare_batches(subject: Subject) -> Finding:
    """The same observation gives the same policy, whatever stands beside it in the batch."""
    obs, net = read_observations(subject), subject.spread_learner.net
    together, alone = run_network(net, obs)[0][:8], torch.cat([run_network(net, o[None])[0] for o in obs[:8]])
    worst, scale = float((together - alone).abs().max()), max(1.0, float(alone.abs().max()))
    allowed = (0.05 if subject.plan.dtype == "bfloat16" else 1e-4) * scale
    return judge(worst < allowed, f"largest difference {worst:.1e}, of numbers up to {scale:.1f}")
