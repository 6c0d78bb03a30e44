"""Probes of the rules of a game: its start, lost lives, its end, rewards, and random play's score."""

from typing import Any, cast

import ale_py
import numpy as np
from ale_py import Action, roms

from environments import games as environment_games
from evidence.human import find_random_score
from probes.probe import Finding, Untested, judge, judge_rule, probe
from probes.subject import Subject
from rollouts.rollout import Rollout

GAMES = "environments/games.py: AtariGames"
MOST_ROWS = 20_000  # of one env that are played until a game ends
STARTS = 32  # games whose starts are looked at


def presses_fire(subject: Subject) -> bool:
    """Return whether the protocol presses FIRE at the start, in a game that has it."""
    games = subject.open_games()
    games.close()
    return bool(subject.env["fire_reset"]) and "FIRE" in games.action_names


@probe(
    "games",
    GAMES,
    "Mnih et al. 2015, baselines, SB3, CleanRL: 1 to 30, each as likely",
    {"atari"},
)
def count_noops(subject: Subject) -> Finding:
    """A game begins after random no-ops."""
    games = subject.open_games(STARTS)
    games.reset(5)
    noops = games.start_frames - presses_fire(subject)
    games.close()
    most = subject.env["noop_max"]
    found = f"{noops.min()} to {noops.max()} frames in {STARTS} games, mean {noops.mean():.1f}; noop_max {most}"
    if most == 0:
        return judge(bool((noops == 0).all()), found)
    spread = len(np.unique(noops)) > min(most, STARTS) // 3
    return judge(noops.min() >= 0 and noops.max() < most and spread, found, differs=True)


@probe(
    "games",
    GAMES,
    "baselines, SB3, CleanRL: FireResetEnv presses FIRE and one more button",
    {"atari"},
)
def compare_start(subject: Subject) -> Finding:
    """FIRE is pressed at the start where the protocol says so."""
    games, fire, same = subject.open_games(4, sticky=0.0), presses_fire(subject), {True: 0, False: 0}
    assert games.layout is not None
    pictures = [games.layout.to_pixels(obs) for obs in games.reset(7)]
    for n, picture in enumerate(pictures):
        for pressed in (True, False):
            same[pressed] += np.array_equal(picture, replay_start(subject, 7 + n, int(games.start_frames[n]), pressed))
    games.close()
    if same[True] == same[False]:
        raise Untested("the first pictures are the same with FIRE and without it")
    found = f"{same[fire]} of 4 first pictures are those of a start {'with' if fire else 'without'} FIRE"
    return judge(same[fire] == 4, f"{found}, {same[not fire]} those of one {'without' if fire else 'with'} it")


def replay_start(subject: Subject, seed: int, frames: int, fire: bool) -> np.ndarray:
    """Return the picture at an emulator frame, after FIRE or not and no-ops, from an emulator of its own."""
    import cv2

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    ale.setInt("random_seed", seed)
    ale.loadROM(str(roms.get_rom_path(subject.env["game"])))
    ale.reset_game()
    for frame in range(frames):
        ale.act(Action.FIRE if fire and frame == 0 else Action.NOOP)
    dim = subject.env["dim"]
    return cv2.resize(read_screen(ale, subject), (dim, dim), interpolation=cv2.INTER_AREA)


def read_screen(ale: ale_py.ALEInterface, subject: Subject) -> np.ndarray:
    """Return the present frame in gray, or in colour where the experiment has it."""
    return ale.getScreenGrayscale() if subject.env["grayscale"] else ale.getScreenRGB()


@probe(
    "games",
    GAMES,
    "baselines, SB3, CleanRL: EpisodicLifeEnv, the same (Mnih et al. 2015); Machado et al. 2018: it does not",
    {"atari"},
)
def follow_lost_lives(subject: Subject) -> Finding:
    """A lost life ends the training episode, and the game goes on."""
    ended = finished = 0
    for step in subject.random_play.transitions:
        lost = step.terminated & ~step.finished
        ended += int(lost.sum())
        finished += int((lost & step.game_reset).sum())
    wanted = subject.env["life_loss"]
    found = f"{ended} episodes of random play ended while their game went on, {finished} of them with a new game"
    if wanted and not ended:
        raise Untested("no life was lost while others were left, so there was nothing to see")
    return judge(finished == 0 and bool(ended) == wanted, found)


@probe(
    "games",
    GAMES,
    "baselines, SB3, CleanRL: EpisodicLife inside of FireReset presses it",
    {"atari"},
)
def follow_fire(subject: Subject) -> Finding:
    """FIRE is pressed once after each lost life, and nobody learns from that row."""
    play, games = subject.random_play, subject.open_games()
    games.close()
    fire = games.action_names.index("FIRE") if "FIRE" in games.action_names else -1
    pressed = wrong = learned = misplaced = 0
    wanted = bool(subject.env.get("fire_on_life_loss")) and fire >= 0
    due = np.zeros(len(play.ignored[0]), bool)  # envs that lost a life in the step before
    for step, played, ignored in zip(play.transitions, play.played, play.ignored, strict=True):
        pressed += int(ignored.sum())
        wrong += int((played[ignored] != fire).sum())
        learned += int((ignored & step.valid).sum())
        misplaced += int((ignored != due).sum())
        due = step.terminated & ~step.finished & wanted
    lost = sum(int((s.terminated & ~s.finished).sum()) for s in play.transitions)
    if wanted and not lost:
        seen = "no life was lost while others were left" if subject.env["life_loss"] else "env.life_loss=false"
        raise Untested(f"{seen}, so there was nothing to see")
    found = f"{pressed} times after {lost} lost lives, {misplaced} times too often or too late; "
    found += f"{wrong} times another button, {learned} such rows learned from"
    return judge(wrong == learned == misplaced == 0, found)


@probe(
    "games",
    "environments/games.py",
    "all: the same",
)
def follow_game_over(subject: Subject) -> Finding:
    """A game over ends the episode, and a new game begins."""
    over = wrong = 0
    for step, later in zip(subject.random_play.transitions, subject.random_play.transitions[1:], strict=False):
        over += int(step.finished.sum())
        wrong += int((step.finished & ~(step.terminated | step.truncated)).sum())
        wrong += int((step.finished & ~(step.game_reset | later.game_reset)).sum())
    if not over:
        raise Untested("no game ended in random play")
    return judge(wrong == 0, f"{over} games ended, {wrong} of them not as they should")


@probe(
    "games",
    "environments/games.py, rollouts/returns.py: next_values",
    "baselines and CleanRL: as a termination; SB3: bootstraps too (Pardo et al. 2018)",
    {"atari"},
)
def follow_time_limit(subject: Subject) -> Finding:
    """A time limit is a truncation: the value of what would come counts."""
    steps, skip = 30, subject.env["frameskip"]
    plain = {"noop_max": 0, "fire_reset": False}
    games, others = subject.open_games(2, max_episode_frames=steps * skip, **plain), subject.open_games(2, **plain)
    games.reset(3)
    others.reset(3)
    seen, still = 1, np.zeros(2, np.int64)
    cut, whole = games.step(still), others.step(still)
    while not cut.finished.any() and seen < 2 * steps:
        cut, whole, seen = games.step(still), others.step(still), seen + 1
    games.close()
    others.close()
    right = bool(seen == steps and cut.truncated.all() and not cut.terminated.any() and cut.final_obs is not None)
    if cut.final_obs is not None:
        # ALE 0.12 ends the step before it has taken the last frame, so this picture may differ a little.
        right &= measure_difference(cut.final_obs, whole.obs) <= measure_difference(cut.final_obs, cut.obs)
    return judge(
        right, f"cut after {seen} agent steps of {skip} frames: truncated, with the old game's last picture", True
    )


def measure_difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean difference of the pixels of two pictures."""
    return float(np.abs(one.astype(int) - other).mean())


@probe(
    "games",
    GAMES,
    "classic: the minimal set; Machado et al. 2018: all 18",
    {"atari"},
)
def list_buttons(subject: Subject) -> Finding:
    """The agent has the game's own buttons, or all 18 where the protocol says so."""
    ale = open_emulator(subject)
    expected = ale.getLegalActionSet() if subject.env["full_action_space"] else ale.getMinimalActionSet()
    games = subject.open_games()
    games.close()
    names = games.action_names
    return judge(names == [button.name for button in expected], f"{len(names)}: {' '.join(names)}")


def open_emulator(subject: Subject) -> ale_py.ALEInterface:
    """Return an emulator with the game loaded."""
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.loadROM(str(roms.get_rom_path(subject.env["game"])))
    return ale


@probe(
    "games",
    GAMES,
    "classic: none; Machado et al. 2018: 0.25",
    {"atari"},
)
def compare_two_seeds(subject: Subject) -> Finding:
    """Sticky actions are as the protocol has them."""
    plain = {"noop_max": 0, "fire_reset": False}
    pictures, given = [], []
    for seed in (11, 12):
        given.append(read_stickiness(subject))
        games, rng = subject.open_games(1, **plain), np.random.default_rng(4)
        games.reset(seed)
        pictures.append([games.step(rng.integers(0, subject.count_actions(), 1)).obs.copy() for _ in range(60)])
        games.close()
    same = sum(np.array_equal(a, b) for a, b in zip(*pictures, strict=True))
    sticky = subject.env["sticky"]
    found = f"two seeds, the same 60 actions: {same} equal pictures; probability {given[0]:g}"
    right = given == [sticky] * 2
    if sticky == 0 or 0.1 <= sticky <= 0.9:  # of rarer ones 60 actions may have none, and at 1 all are the first one
        right &= (same == 60) == (sticky == 0)
    return judge(right, found)


def read_stickiness(subject: Subject) -> float:
    """Return the probability of sticky actions with which the suite opens ALE's emulator."""
    given, opened = [], environment_games.AtariVectorEnv

    def open_env(game: str, **options: Any) -> Any:
        given.append(options["repeat_action_probability"])
        return opened(game, **options)

    environment_games.AtariVectorEnv = cast(Any, open_env)
    try:
        subject.open_games(1).close()
    finally:
        environment_games.AtariVectorEnv = opened
    return float(given[0])


@probe(
    "games",
    "environments/games.py",
    "all: the same",
)
def repeat_games(subject: Subject) -> Finding:
    """The same seed plays the same games, another seed others."""
    plays = {}
    for name, seed in (("first", 21), ("again", 21), ("other", 22)):
        games = subject.open_games(2)
        games.action_space.seed(5)
        seen = [games.reset(seed).copy()]
        for _ in range(40):
            actions = np.stack([games.action_space.sample() for _ in range(2)])
            seen.append(games.step(actions).obs.copy())
        games.close()
        plays[name] = np.stack(seen)
    same, other = np.array_equal(plays["first"], plays["again"]), np.array_equal(plays["first"], plays["other"])
    fixed = subject.atari and subject.env["sticky"] == 0 and subject.env["noop_max"] == 0
    found = f"40 steps: equal with the same seed: {same}; with another: {other}"
    if same and other and not subject.atari:
        raise Untested(f"{found}; this environment may have nothing that a seed decides")
    return judge(same and (fixed or not other), found)


@probe(
    "games",
    "rollouts/runner.py: VectorEnvRunner.sample",
    "all: RecordEpisodeStatistics or Monitor outside of the clipping",
    {"actor_critic"},
)
def compare_scores(subject: Subject) -> Finding:
    """A score is the sum of raw rewards over the whole game."""
    config = subject.config.copy(copy_frozen=False)
    config.num_envs_per_env_runner = 1
    runner = type(subject.runner)(config=config, module=subject.net)
    scores, expected, total, rows = [], [], 0.0, 0
    while not scores and rows < MOST_ROWS:
        rollout = runner.sample()
        scores += rollout.scores
        rows += len(rollout["rewards"])
        ends = rollout["terminated"] | rollout["truncated"]
        over = rollout["game_reset"] if runner.games.same_step else ends
        for reward, last in zip(rollout["rewards"][:, 0], over[:, 0], strict=True):
            total += float(reward)
            if last:
                expected.append(total)
                total = 0.0
    runner.stop()
    if not scores:
        raise Untested(f"no game ended within {rows:,} agent steps")
    found = f"games that ended in {rows:,} rows: {len(scores)}; score of the first: {scores[0]:,g}"
    return judge(np.allclose(scores, expected), found)


@probe(
    "games",
    "rollouts/episodes.py: EpisodeRunner.sample",
    "all: RecordEpisodeStatistics or Monitor outside of the clipping",
    {"monte_carlo"},
)
def compare_episode_scores(subject: Subject) -> Finding:
    """A score is the sum of raw rewards over the whole game."""
    rollout = subject.rollout
    lasts = [np.flatnonzero(column)[-1] for column in rollout["valid"].T]  # what FIRE scores before it counts, too
    scores = sum(rollout.scores)
    rewards = sum(float(rollout["rewards"][: last + 1, n].sum()) for n, last in enumerate(lasts))
    return judge(
        bool(np.isclose(scores, rewards)), f"{len(rollout.scores)} games score {scores:,g} together: {rewards:,g}"
    )


@probe(
    "games",
    "rollouts/returns.py: clip_to_sign",
    "baselines, SB3, CleanRL: ClipRewardEnv clips in the environment, the score is taken before it",
    {"atari"},
)
def compare_rewards(subject: Subject) -> Finding:
    """Rewards are clipped in the loss and nowhere else."""
    seen = np.unique([step.rewards for step in subject.random_play.transitions])
    learned = read_rewards(subject, rewards := np.array([*seen[:20], -2.0, 0.5, 3.0]))
    wanted = np.sign(rewards) if subject.env["clip_rewards"] else rewards
    found = (
        f"raw up to {np.abs(seen).max():g}; the loss learns from {', '.join(f'{x:g}' for x in np.unique(learned)[:5])}"
    )
    return judge_rule(subject, bool(np.allclose(learned, wanted)), found)


def read_rewards(subject: Subject, rewards: np.ndarray) -> np.ndarray:
    """Return what the live loss makes of rewards [n]: at gamma 0 and values of 0, advantages and returns are that.

    Raises:
        Untested: the loss reads no such column.
    """
    rollout = subject.make_rollout(1, steps=len(rewards))
    names = ("values", "terminated", "truncated", "final_values")
    columns = {name: np.zeros_like(rollout[name]) for name in names} | {"valid": np.ones_like(rollout["valid"])}
    columns["rewards"] = np.repeat(rewards[:, None], rollout["valid"].shape[1], 1).astype(np.float32)
    columns["terminated"][-1] = subject.algo_name == "pg"
    plain = {"gamma": 0.0, "gae_lambda": 0.0, "normalize_advantages": False}
    read = subject.read_columns(Rollout(dict(rollout.arrays) | columns, [], [], 0), **plain)
    name = "returns" if subject.algo_name == "pg" else "advantages"
    if name not in read:
        raise Untested(f"the loss of this learner reads no {name}")
    return read[name][:, 0]


@probe(
    "games",
    "environments/games.py, settings/protocols.py",
    "Wang et al. 2016: the table that rliable and Dopamine use; or a measurement of 1,000 games here",
    {"atari"},
)
def score_random_play(subject: Subject) -> Finding:
    """Random play scores what is known of it."""
    if subject.env["frameskip"] != 4 or subject.env["max_episode_frames"] < 108_000:
        raise Untested("what is known is of agent steps of 4 frames, and of games of up to 108,000")
    total, scores = np.zeros(len(subject.random_play.actions[0])), []
    for step in subject.random_play.transitions:
        total += step.rewards
        scores += total[step.finished].tolist()
        total[step.finished] = 0
    reference = find_random_score(subject.env)
    if len(scores) < 2 or reference is None:
        raise Untested(f"{len(scores)} games ended; there is no known score to compare with")
    mean, error = float(np.mean(scores)), float(np.std(scores, ddof=1)) / len(scores) ** 0.5
    near = abs(mean - reference.score) <= 4 * error + 0.25 * abs(reference.score)  # few games, of a skewed kind
    return judge(near, f"{mean:,.1f} +- {error:,.1f} in {len(scores)} games; known: {reference.source}")
