"""Environments that work for a while: CartPole for 300 steps, and then what ends a run."""

import math
import signal

import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv


class Broken(CartPoleEnv):
    """CartPole that at its 300th step, and all that follow, raises or gives a number that is none."""

    steps_left = 300
    reward, position = 1.0, 0.0

    def step(self, action):
        self.steps_left -= 1
        obs, reward, *rest = super().step(action)
        return (obs, reward, *rest) if self.steps_left > 0 else self.fail(obs, reward, *rest)

    def fail(self, *step):
        raise ValueError("the licence has expired")


class BrokenAtOnce(Broken):
    steps_left = 3


class Exits(Broken):
    def fail(self, *step):
        raise SystemExit("the licence has expired")


class Interrupts(Broken):
    def fail(self, *step):
        raise KeyboardInterrupt("the licence has expired")


class Signalled(Broken):
    """Ctrl-C while the environment plays."""

    def fail(self, *step):
        signal.raise_signal(signal.SIGINT)


class NanReward(Broken):
    def fail(self, obs, reward, *rest):
        return obs, math.nan, *rest


class InfiniteReward(Broken):
    """Finite in float64, in which environments reckon; infinite in float32."""

    def fail(self, obs, reward, *rest):
        return obs, 1e300, *rest


class NanObservation(Broken):
    def fail(self, obs, reward, *rest):
        return obs * math.nan, reward, *rest


class NanFirst(CartPoleEnv):
    """The first observation is none."""

    def reset(self, **options):
        obs, info = super().reset(**options)
        return obs * math.nan, info


class RaisesOnce(CartPoleEnv):
    """The first reset in a process raises, and no later one."""

    has_raised = False

    def reset(self, **options):
        if not RaisesOnce.has_raised:
            RaisesOnce.has_raised = True
            raise ValueError("no licence yet")
        return super().reset(**options)


class Unstartable(CartPoleEnv):
    def reset(self, **options):
        raise ValueError("the licence has expired")


WORLDS = (Broken, Exits, Interrupts, Signalled, NanReward, InfiniteReward, NanObservation, NanFirst, Unstartable)
for world in (*WORLDS, BrokenAtOnce, RaisesOnce):
    gymnasium.register(f"{world.__name__}-v0", world, max_episode_steps=500, disable_env_checker=True)
