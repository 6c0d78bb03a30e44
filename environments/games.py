"""Many games at once, behind one contract: `Games.reset` and `Games.step`.

    settings -> Games -> Transition: obs, raw rewards, and which of five things happened to each env

The contract says in masks what environments say in three dialects. With autoreset in the same step (ALE, Gymnasium's
SYNC and ASYNC vectors) `obs` already belongs to the next game and the last observation is in `final_obs`. With
autoreset in the next step (CartPole's own vector) `obs` is the last observation, and the step after it ignores the
action: that row is not `valid`, and nobody may learn from it or count it. The same holds for the step after a lost life
where the protocol presses FIRE then; what that step scores belongs to the game, and to no decision of the agent.
"""

import difflib
import dis
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from ale_py import Action, roms
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode

from environments.frames import FrameLayout, atari_layout, picture_layout, to_blocks
from environments.gymnasium_envs import list_wrappers, open_envs, spec_of
from settings.mistakes import EnvironmentFault, Mistake, NonFiniteValue
from settings.own_parts import describe_error
from settings.protocols import complete_rules

# ALE ships these ROMs without knowing what scores in them or when they end, and opening one ends the process: they are
# for several players, in PettingZoo's multi-agent interface.
NOT_OPENED = ("combat", "joust", "maze_craze", "warlords")


class Transition(NamedTuple):
    """What one action in each of N envs led to."""

    obs: np.ndarray  # [N, ...] what the agent sees next; a frame in blocks (not a stack) where there are pixels
    rewards: np.ndarray  # [N] raw; their sum over a game is its score, rows that are not `valid` among them
    terminated: np.ndarray  # bool [N] the training episode is over: V(s') is 0
    truncated: np.ndarray  # bool [N] it was only cut short: V(s') counts
    finished: np.ndarray  # bool [N] the game is over, whatever the reason: its score is final
    game_reset: np.ndarray  # bool [N] obs is the first of a new game: frame stacks and memories start anew
    valid: np.ndarray  # bool [N] false where the action was ignored: a game was restarted, or FIRE pressed instead
    final_obs: np.ndarray | None  # like obs; rows where `truncated` hold the last observation of the old game


def is_game(name: str) -> bool:
    """Whether ALE ships a ROM of this name (`assault`, `ms_pacman`)."""
    return name in roms.get_all_rom_ids()


def near_games(name: str) -> list[str]:
    """Names of games that look like a mistyped one."""
    return difflib.get_close_matches(name, set(roms.get_all_rom_ids()) - set(NOT_OPENED), n=3)


def check_game(name: str) -> None:
    """Check that ALE has a game for one agent of this name.

    Raises:
        Mistake: it has not.
    """
    if not is_game(name):
        near = near_games(name)
        spelling = "games are spelt like assault or ms_pacman, and --help env.game lists them"
        hint = f"did you mean {' or '.join(near)}?" if near else spelling
        raise Mistake(f"env.game={name}: ALE has no such game; {hint}", "env.game")
    if name in NOT_OPENED:
        raise Mistake(
            f"env.game={name} is a game for several players, which ALE cannot open for one agent; "
            "choose another game, such as env.game=assault"
        )


def may_never_end(env: dict) -> bool:
    """Whether nothing ends a game of these `env.` settings for certain: it has no time limit.

    The limit is that of its registration, or max_episode_steps in env.kwargs, or that of a wrapper called TimeLimit. A
    limit that an environment keeps inside cannot be seen from here.
    """
    spec = spec_of(env["id"]) if "id" in env else None
    if spec is None or any(path.endswith(":TimeLimit") for path, _ in list_wrappers(env)):
        return False
    return ((env.get("kwargs") or {}).get("max_episode_steps") or spec.max_episode_steps) in (None, -1)


def make_games(env: dict, num_envs: int, num_threads: int, one_by_one: bool = False) -> "Games":
    """Open `num_envs` games.

    Args:
        env: the `env.` settings of the experiment, as plain data.
        num_envs: N.
        num_threads: threads the emulator may use; environments in Python ignore it.
        one_by_one: each env has random numbers of its own, so that its first game after a seeded `reset` is the one
            that `gymnasium.make` plays with that seed. ALE's games always have; CartPole's own vector has not.
    """
    return AtariGames(env, num_envs, num_threads) if "game" in env else GymnasiumGames(env, num_envs, one_by_one)


class Games:
    """N games. `observation_space` and `action_space` are those of one env, as the model sees it."""

    layout: FrameLayout | None = None
    frameskip: int = 1
    same_step: bool = True  # autoreset in the same step, so that last observations come as `final_obs`
    action_names: list[str] = []  # what ALE calls the actions
    start_frames: np.ndarray  # int [N] emulator frames since the seed, when `reset` returned; of ALE only
    ignores_next: np.ndarray  # bool [N] the next step ignores its action: its row will not be `valid`
    observation_space: gymnasium.Space
    action_space: gymnasium.Space

    def reset(self, seed: int | None) -> np.ndarray:
        """Start N new games and return their first obs [N, ...]. Env i is seeded with seed + i, but a vector with one
        stream for all of them, such as CartPole's, with the seed."""
        raise NotImplementedError

    def step(self, actions: np.ndarray) -> Transition:
        """Play one agent step in every game."""
        raise NotImplementedError

    def played_actions(self, actions: np.ndarray) -> np.ndarray:
        """Return what the next `step` plays for the agent's actions [N, ...]: FIRE where it is pressed instead, and
        continuous actions clipped to their box."""
        return actions

    def close(self) -> None:
        """Give the games back."""


class AtariGames(Games):
    """ALE's own vector env: all emulators in C++, pictures reduced to `dim` x `dim` there.

    `life_loss_info` makes ALE report a lost life as terminated while the game goes on; its `episodic_life` would
    restart the whole game instead. Frames come one at a time: stacks are put together by whoever needs them.

    ALE presses FIRE after a reset only; after a lost life it is done here, in the games where ALE does it: those that
    have FIRE among their actions. A life is lost as ALE has it, while others are left.
    """

    def __init__(self, env: dict, num_envs: int, num_threads: int):
        self.layout: FrameLayout = atari_layout(env)
        self.frameskip = env["frameskip"]
        env = complete_rules(env)
        self._env = AtariVectorEnv(
            env["game"],
            num_envs=num_envs,
            num_threads=min(num_threads, num_envs),
            autoreset_mode=AutoresetMode.SAME_STEP,
            img_height=env["dim"],
            img_width=env["dim"],
            grayscale=env["grayscale"],
            stack_num=1,
            frameskip=env["frameskip"],
            repeat_action_probability=env["sticky"],
            full_action_space=env["full_action_space"],
            noop_max=env["noop_max"],
            use_fire_reset=env["fire_reset"],
            life_loss_info=env["life_loss"],
            max_num_frames_per_episode=env["max_episode_frames"],
            reward_clipping=False,
        )
        self.observation_space = gymnasium.spaces.Box(0, 255, self.layout.stack_shape, np.uint8)
        self.action_space = self._env.single_action_space
        buttons = self._env.ale.get_action_set()
        self.action_names = [button.name for button in buttons]
        self._fire = buttons.index(Action.FIRE) if env["fire_on_life_loss"] and Action.FIRE in buttons else None
        self.ignores_next = np.zeros(num_envs, bool)

    def reset(self, seed: int | None) -> np.ndarray:
        obs, info = self._env.reset(seed=seed)
        self._frame_number, self._lives = info["episode_frame_number"], info["lives"]
        self.start_frames = info["frame_number"]
        self.ignores_next = np.zeros_like(self.ignores_next)
        return self._blocks(obs)

    def step(self, actions: np.ndarray) -> Transition:
        valid = ~self.ignores_next
        obs, rewards, terminated, truncated, info = self._env.step(self.played_actions(actions))
        # A game that goes on has moved by exactly `frameskip` frames; a new one starts counting at its no-ops.
        moved_on = info["episode_frame_number"] == self._frame_number + self.frameskip
        finished = truncated | (terminated & ~moved_on)
        self._frame_number = info["episode_frame_number"]
        if self._fire is not None:
            self.ignores_next = (info["lives"] < self._lives) & (info["lives"] > 0) & ~finished
            self._lives = info["lives"]
        final_obs = self._blocks(info["final_obs"]) if truncated.any() else None
        return Transition(self._blocks(obs), rewards, terminated, truncated, finished, finished, valid, final_obs)

    def played_actions(self, actions: np.ndarray) -> np.ndarray:
        return actions if self._fire is None else np.where(self.ignores_next, self._fire, actions)

    def close(self) -> None:
        self._env.close()

    def _blocks(self, obs: np.ndarray) -> np.ndarray:
        blocks = np.empty((len(obs), *self.layout.frame_shape), np.uint8)
        to_blocks(blocks, obs, self.layout)
        return blocks


class GymnasiumGames(Games):
    """Any Gymnasium environment, see environments/gymnasium_envs.py. Pictures are uint8 [N, H, W, C]."""

    def __init__(self, env: dict, num_envs: int, one_by_one: bool):
        self._env = open_envs(env, num_envs, one_by_one)
        self._id, self._steps = env["id"], 0  # of all envs together, since they were opened
        self.same_step = self._env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP  # else NEXT_STEP
        self.observation_space = self._env.single_observation_space
        self.action_space = self._env.single_action_space
        self.layout = picture_layout(self.observation_space, env)
        if self.layout is not None:
            self.observation_space = gymnasium.spaces.Box(0, 255, self.layout.stack_shape, np.uint8)
        self.ignores_next = np.zeros(num_envs, bool)

    def reset(self, seed: int | None) -> np.ndarray:
        self.ignores_next = np.zeros_like(self.ignores_next)
        obs = self._ask(self._env.reset, seed=seed)[0]
        self._refuse_nonfinite("observation", obs)
        return self._add_channels(obs)

    def step(self, actions: np.ndarray) -> Transition:
        obs, rewards, terminated, truncated, info = self._ask(self._env.step, self.played_actions(actions))
        self._steps += len(rewards)
        self._refuse_nonfinite("reward", rewards)
        self._refuse_nonfinite("observation", obs)
        finished, obs = terminated | truncated, self._add_channels(obs)
        if not self.same_step:
            restarted, self.ignores_next = self.ignores_next, finished
            rewards = np.where(restarted, 0.0, rewards)  # CartPole gives 1 for the step that restarts it
            return Transition(obs, rewards, terminated, truncated, finished, restarted, ~restarted, None)
        final_obs = None
        if truncated.any():  # Gymnasium gives an array of objects, None where nothing ended
            last = zip(obs, info["final_obs"], strict=True)
            final_obs = np.stack([o if one is None else np.reshape(one, o.shape) for o, one in last])
            final_obs = final_obs.astype(obs.dtype, copy=False)  # that of its space, as of all other observations
            self._refuse_nonfinite("observation", final_obs)
        return Transition(obs, rewards, terminated, truncated, finished, finished, np.ones(len(obs), bool), final_obs)

    def played_actions(self, actions: np.ndarray) -> np.ndarray:
        space = self.action_space
        return actions.clip(space.low, space.high) if isinstance(space, gymnasium.spaces.Box) else actions

    def close(self) -> None:
        self._env.close()

    def _add_channels(self, obs: np.ndarray) -> np.ndarray:
        """Return gray pictures [N, H, W] as [N, H, W, 1], and all other observations as they are."""
        return obs if self.layout is None else obs.reshape(len(obs), *self.layout.frame_shape)

    def _ask(self, method: Any, *words: Any, **named: Any) -> Any:
        """Return what a method of the environment does.

        Raises:
            EnvironmentFault: it raised something.
        """
        try:
            return method(*words, **named)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # an environment may raise anything
            if isinstance(error, KeyboardInterrupt) and not is_raised_by_code(error):
                raise  # Ctrl-C
            raise EnvironmentFault(
                f"env.id={self._id}: {method.__name__} raised {describe_error(error)}, "
                f"after {self._steps:,} agent steps in this process"
            ) from error

    def _refuse_nonfinite(self, what: str, values: np.ndarray) -> None:
        """Look at the rewards [N] or observations [N, ...] of a step.

        Raises:
            NonFiniteValue: one is NaN or infinite, or would be in float32, in which training computes.
        """
        if not np.issubdtype(values.dtype, np.floating):
            return
        with np.errstate(over="ignore"):
            finite = np.isfinite(values.astype(np.float32, copy=False))
        if not finite.all():
            env = int(np.flatnonzero(~finite.reshape(len(values), -1).all(1))[0])
            raise NonFiniteValue(
                f"env.id={self._id}: the {what} of agent step {self._steps:,} in this process is "
                f"{values[env][~finite[env]].flat[0]:g} (env {env + 1} of {len(values)}); mend the environment"
            )


def is_raised_by_code(error: BaseException) -> bool:
    """Return whether a `raise` statement raised an exception, and no signal."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]
