"""The yardstick: PPO or A2C on Assault as a bare loop, without Ray, RLlib or any other framework.

    python -m benchmarks.bare_loop --algo ppo --num-envs 8  --horizon 128 --epochs 4 --minibatch 256
    python -m benchmarks.bare_loop --algo a2c --num-envs 64 --horizon 20  --epochs 1 --minibatch 1280

    collect: T times emulator --frames--> act --actions--> emulator, then GAE    learn: epochs of minibatches

Two questions, one run. How fast is the whole loop, in agent steps/s, after two warm-up updates? And how fast is each
part alone, with nothing else going on: E, emulator steps/s under random actions; I, samples/s of acting on all envs at
once; G, samples/s through forward, backward and optimizer at the minibatch. A serial machine cannot beat

    limit = 1 / (1/E + 1/I + epochs/G)

It measures speed and is no reference for learning: a lost life does not end a training episode here, and a time limit
counts as an end. What makes it fast is said where it is done; `docs/` has the measurements.
"""

import argparse
import ctypes
import json
import os
import time
from collections import deque
from typing import cast

_libc = ctypes.CDLL("libc.so.6")
_libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: keep the heap, or each update pays for its page faults again
_libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD; both before the first large allocation

# Threads that wait give up their core soon, as in the suite: else they take it from the emulator.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in run.py
os.environ.setdefault("GOMP_SPINCOUNT", "4000")  # as in cluster/connection.py

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn as nn  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from ale_py.vector_env import AtariVectorEnv  # noqa: E402
from gymnasium.spaces import Discrete  # noqa: E402
from gymnasium.vector import AutoresetMode  # noqa: E402

from benchmarks.processes import read_pss_mib  # noqa: E402
from benchmarks.rounds import count_threads, parse_count, run_main  # noqa: E402
from environments.machine import find_fastest_dtype  # noqa: E402

NHWC = torch.channels_last
GAMMA, MAX_GRAD_NORM, ENTROPY_COEFF = 0.99, 0.5, 0.01
VF_COEFF = 0.25  # 0.5 of the papers x the 1/2 of the squared error
CLIP = 0.1  # PPO's
LAMBDA = {"ppo": 0.95, "a2c": 1.0}
WARM_UP_UPDATES = 2
PART_S = 2.0  # how long each part runs alone


class NatureCNN(nn.Module):
    """Mnih et al. 2015 with policy and value heads; parameters are plain fp32, so a checkpoint would be as usual."""

    def __init__(self, num_actions: int):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(4, 32, 8, 4), nn.Conv2d(32, 64, 4, 2), nn.Conv2d(64, 64, 3, 1)
        self.fc, self.policy, self.value = nn.Linear(3136, 512), nn.Linear(512, num_actions), nn.Linear(512, 1)
        for name, parameter in self.named_parameters():
            gain = {"policy.weight": 0.01, "value.weight": 1.0}.get(name, 2**0.5)
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.orthogonal_(parameter, gain)

    def pack(self, dtype: torch.dtype):
        """Return the weights in the layout that computes fastest; differentiable, so gradients reach the plain ones.

        conv1, 8x8 with stride 4 on [4,84,84], becomes 2x2 with stride 1 on [64,21,21] (see `write_blocks`) and takes
        the 1/255 of the pixels; fc reads its columns in (y, x, channel) order; both heads are one matrix, in fp32.
        """
        w1 = (self.conv1.weight / 255).view(32, 4, 2, 4, 2, 4).permute(0, 1, 3, 5, 2, 4).reshape(32, 64, 2, 2)
        kernels = [w.to(dtype).contiguous(memory_format=NHWC) for w in (w1, self.conv2.weight, self.conv3.weight)]
        biases = [b.to(dtype) for b in (self.conv1.bias, self.conv2.bias, self.conv3.bias) if b is not None]
        fc = self.fc.weight.to(dtype), self.fc.bias.to(dtype)
        heads = torch.cat([self.policy.weight, self.value.weight]), torch.cat([self.policy.bias, self.value.bias])
        return kernels, biases, fc, heads


def forward(packed, frames: torch.Tensor):
    """Return logits float32 [n,A] and values float32 [n] of frames uint8 [n,21,21,64]."""
    (w1, w2, w3), (b1, b2, b3), fc, heads = packed
    h = F.relu_(F.conv2d(frames.to(w1.dtype).permute(0, 3, 1, 2), w1, b1))  # [n, 32, 20, 20]
    h = F.relu_(F.conv2d(h, w2, b2, 2))  # [n, 64, 9, 9]
    h = F.relu_(F.conv2d(h, w3, b3))  # [n, 64, 7, 7]
    h = F.relu_(F.linear(h.permute(0, 2, 3, 1).reshape(len(frames), 3136), *fc))
    out = F.linear(h.float(), *heads)
    return out[:, :-1], out[:, -1]


def act(packed, frames: torch.Tensor):
    """Return actions int64 [n], their logp [n], and values [n]; the Gumbel trick is cheaper than torch.multinomial."""
    logits, values = forward(packed, frames)
    log_probs = logits.log_softmax(-1)
    actions = (log_probs - torch.empty_like(log_probs).exponential_().log_()).argmax(-1)
    return actions, log_probs.gather(1, actions[:, None])[:, 0], values


def write_blocks(into: np.ndarray, obs: np.ndarray) -> None:
    """Write obs uint8 [n,4,84,84] into uint8 [n,21,21,64] as 4x4 blocks of pixels, four bytes at a time."""
    n = len(obs)
    words = obs.view(np.uint32).reshape(n, 4, 21, 4, 21)
    into.view(np.uint32).reshape(n, 21, 21, 4, 4)[...] = words.transpose(0, 2, 4, 1, 3)


def gae(rewards, values, alive, lam: float):
    """Return the advantages [T,N] of Schulman et al. 2016, eq. 16, from rewards and alive [T,N], and values [T+1,N]."""
    advantages, last = torch.empty_like(rewards), torch.zeros(rewards.shape[1])
    for t in reversed(range(len(rewards))):
        last = rewards[t] + GAMMA * alive[t] * values[t + 1] - values[t] + GAMMA * lam * alive[t] * last
        advantages[t] = last
    return advantages


class Bench:
    """One net, one vector env, one buffer: what the loop and its isolated parts share."""

    def __init__(self, settings: argparse.Namespace):
        s = self.settings = settings
        torch.manual_seed(s.seed)
        torch.set_num_threads(s.threads)
        N, T = s.num_envs, s.horizon
        self.env = AtariVectorEnv("assault", num_envs=N, num_threads=s.threads, reward_clipping=False,
                                  autoreset_mode=AutoresetMode.SAME_STEP)  # fmt: skip
        self.num_actions = int(cast(Discrete, self.env.single_action_space).n)
        self.net, self.dtype = NatureCNN(self.num_actions), getattr(torch, s.dtype)
        self.params = list(self.net.parameters())
        self.optimizer = (
            torch.optim.Adam(self.params, 2.5e-4, eps=1e-5, fused=True)
            if s.algo == "ppo"
            else torch.optim.RMSprop(self.params, 7e-4, eps=1e-5)
        )
        self.frames = np.zeros((T + 1, N, 21, 21, 64), np.uint8)
        self.actions, self.logp = torch.empty(T, N, dtype=torch.long), torch.empty(T, N)
        self.values = torch.empty(T + 1, N)
        self.rewards, self.done = np.empty((T, N), np.float32), np.empty((T, N), np.float32)
        self.score, self.returns = np.zeros(N), deque(maxlen=100)  # raw and unclipped, of the last 100 games
        write_blocks(self.frames[0], self.env.reset(seed=s.seed)[0])

    def pack(self):
        with torch.no_grad():
            return self.net.pack(self.dtype)

    def collect(self):
        """Play T steps in all envs and return the batch of an update, one row per agent step."""
        s, packed = self.settings, self.pack()  # packed once per rollout, not once per step
        with torch.inference_mode():
            for t in range(s.horizon):
                actions, self.logp[t], self.values[t] = act(packed, torch.from_numpy(self.frames[t]))
                self.actions[t] = actions
                obs, reward, terminated, truncated, _ = self.env.step(actions.numpy())
                write_blocks(self.frames[t + 1], obs)
                np.clip(reward, -1, 1, out=self.rewards[t], casting="unsafe")
                self.done[t] = terminated | truncated
                self.score += reward
                for i in np.flatnonzero(self.done[t]):
                    self.returns.append(self.score[i])
                    self.score[i] = 0
            self.values[-1] = forward(packed, torch.from_numpy(self.frames[-1]))[1]
            alive = 1 - torch.from_numpy(self.done)
            advantages = gae(torch.from_numpy(self.rewards), self.values, alive, LAMBDA[s.algo])
            targets = advantages + self.values[:-1]
        rows = [x.flatten().clone() for x in (self.actions, self.logp, advantages, targets)]  # out of inference mode
        return torch.from_numpy(self.frames[:-1].reshape(-1, 21, 21, 64)), *rows

    def learn(self, batch) -> None:
        """Epochs of shuffled minibatches: gather, forward, loss, backward, clip, step."""
        s, (frames, actions, old_logp, advantages, targets) = self.settings, batch
        for _ in range(s.epochs):
            for rows in torch.randperm(len(frames)).split(s.minibatch):
                logits, values = forward(self.net.pack(self.dtype), frames.index_select(0, rows))
                log_probs = logits.log_softmax(-1)
                logp = log_probs.gather(1, actions[rows, None])[:, 0]
                entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
                A = advantages[rows]
                if s.algo == "ppo":
                    A = (A - A.mean()) / (A.std() + 1e-8)
                    ratio = (logp - old_logp[rows]).exp()
                    policy_loss = -torch.min(ratio * A, ratio.clamp(1 - CLIP, 1 + CLIP) * A).mean()
                else:
                    policy_loss = -(logp * A).mean()
                value_loss = (values - targets[rows]).pow(2).mean()
                loss = policy_loss + VF_COEFF * value_loss - ENTROPY_COEFF * entropy
                self.optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.params, MAX_GRAD_NORM)
                self.optimizer.step()

    def measure_loop(self) -> float:
        """Return the agent steps/s of the whole loop: collect, learn, collect, learn ..."""
        s = self.settings
        for update in range(WARM_UP_UPDATES + s.updates):
            if update == WARM_UP_UPDATES:
                start = time.perf_counter()
            self.learn(self.collect())
            self.frames[0] = self.frames[-1]
        return s.updates * s.horizon * s.num_envs / (time.perf_counter() - start)

    def measure_parts(self) -> dict[str, float]:
        """Return E, I and G, each measured alone, and the limit that they set."""
        s, N = self.settings, self.settings.num_envs
        choices = np.random.default_rng(s.seed).integers(self.num_actions, size=(997, N))
        steps = iter(range(10**9))
        E = measure_rate(lambda: self.env.step(choices[next(steps) % 997]), N)
        frames, packed = torch.from_numpy(self.frames[0]), self.pack()
        with torch.inference_mode():
            I = measure_rate(lambda: act(packed, frames), N)
        batch = self.collect()
        G = measure_rate(lambda: self.learn(batch), s.epochs * s.horizon * N)
        return {"E": E, "I": I, "G": G, "limit": 1 / (1 / E + 1 / I + s.epochs / G)}


def measure_rate(call, samples: int) -> float:
    """Return the samples/s of a call that handles so many, over PART_S seconds after one warm-up call."""
    call()
    start, calls = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < PART_S:
        call()
        calls += 1
    return calls * samples / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algo", choices=["ppo", "a2c"], default="ppo")
    parser.add_argument("--num-envs", type=parse_count, default=8)
    parser.add_argument("--horizon", type=parse_count, default=128, help="agent steps per env per update")
    parser.add_argument("--epochs", type=parse_count, default=4)
    parser.add_argument("--minibatch", type=parse_count, default=256)
    parser.add_argument(
        "--updates", type=parse_count, default=12, help=f"timed ones, after {WARM_UP_UPDATES} of warm-up"
    )
    parser.add_argument("--threads", type=parse_count, default=count_threads(), help="torch's and the envs'")
    parser.add_argument("--seed", type=int, default=0)
    fastest = find_fastest_dtype()
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default=fastest, help="of the trunk")
    parser.add_argument("--json", action="store_true", help="print one JSON line as well, last")
    settings = parser.parse_args()

    bench = Bench(settings)
    result: dict = {"agent_steps_per_s": bench.measure_loop()}
    result["peak_pss_mib"] = read_pss_mib(os.getpid())  # now is the peak: the heap is never given back
    result["episode_return_mean"] = float(np.mean(bench.returns)) if bench.returns else None
    result |= bench.measure_parts()
    print(
        f"{settings.algo} {settings.num_envs}x{settings.horizon}, {settings.epochs} epochs of {settings.minibatch}, "
        f"{settings.dtype}: {result['agent_steps_per_s']:,.0f} agent steps/s; alone E {result['E']:,.0f}, "
        f"I {result['I']:,.0f}, G {result['G']:,.0f}, limit {result['limit']:,.0f}; {result['peak_pss_mib']:,.0f} MiB"
    )
    if settings.json:
        print(json.dumps(result | vars(settings)))


if __name__ == "__main__":
    run_main(main)
