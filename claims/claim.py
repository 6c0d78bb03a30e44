"""Claims: what the lecture says, and what was stated about its test before the first run.

claims/<name>.yaml -> Claim, with its predictions
claims/trainings/<name>.yaml -> Training: arms and budget, which several claims share
"""

import math
import os
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from experiments.yaml_files import read_yaml_nodes
from settings.mistakes import Mistake, resolve_path
from settings.suggestions import suggest_option

ROOM = Path(__file__).resolve().parent
SIDES = ("above", "below")
PREDICTION_FORM = "a prediction is {measure: area, of: pg, is: above, than: dqn}"
PLANNED_SEEDS = 10  # of every claim; with fewer it is a trial


@dataclass(frozen=True)
class Prediction:
    """One sentence that must be true if the claim holds: `the oscillation of pg is below that of dqn`.

    Attributes:
        measure: a column of the table that is measured.
        of: an arm.
        side: above or below.
        than: another arm, or a number.
    """

    measure: str
    of: str
    side: str
    than: str | float

    def describe(self) -> str:
        """Return the prediction as a sentence without a full stop."""
        than = f"that of {self.than}" if isinstance(self.than, str) else f"{self.than:g}"
        return f"the {self.measure} of {self.of} is {self.side} {than}"


@dataclass(frozen=True)
class Claim:
    """A claim of the lecture, and its test.

    Attributes:
        name: of its file.
        number: its place in the order of the lecture.
        slide: the title of the slide.
        words: the claim, in the words of the slide.
        stated: how it is tested, stated before the first run.
        predictions: all of them must hold.
        trainings: the names of the trainings whose arms are compared; none where no training is needed.
        arms: those of their arms that stand in the table; the predictions are about these.
        measurement: the function of claims/measurements.py that measures live objects; None: learning curves are
            measured.
        until: agent steps of the learning curves that are measured; above 0 where they are.
        threshold: the score that `steps_to` waits for; None: it is not measured.
        path: of its file.
    """

    name: str
    number: int
    slide: str
    words: str
    stated: str
    predictions: tuple[Prediction, ...]
    trainings: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()
    measurement: str | None = None
    until: int = 0
    threshold: float | None = None
    path: Path = ROOM


@dataclass(frozen=True)
class Training:
    """Arms that are trained together, as one grid.

    Attributes:
        name: of its file.
        common: the overrides of all arms.
        arms: name -> its own overrides.
        path: of its file.
    """

    name: str
    common: tuple[str, ...]
    arms: dict[str, tuple[str, ...]]
    path: Path = field(compare=False)


def list_claims() -> list[Claim]:
    """Return the suite's claims, in the order of the lecture."""
    return sorted((read_claim(path.stem) for path in ROOM.glob("*.yaml")), key=lambda claim: claim.number)


def read_claim(name: str) -> Claim:
    """Read a claim of the suite, by its name, or one of your own, by the path of its file.

    Raises:
        Mistake: there is no such claim, or its file cannot be used.
    """
    is_own = name.endswith(".yaml")
    path = ROOM / f"{name}.yaml"
    if is_own:
        resolve_path(name, "claim")  # for what it refuses; a link keeps its name
        path = Path(os.path.abspath(os.path.expanduser(name)))
    if not os.path.isfile(path):  # which raises nothing, whatever the name
        if is_own and path.parent != ROOM:
            raise Mistake(f"claim {name}: there is no such file; python -m claims lists those of the suite")
        if os.path.isfile(os.path.expanduser(name)):
            raise Mistake(f"claim {name}: the name of a claim's file ends in .yaml")
        raise Mistake(f"claim {name}: {suggest_option(name, sorted(one.stem for one in ROOM.glob('*.yaml')))}")
    content = read_content(path, Claim, ("name", "path"))
    if not isinstance(content["predictions"], list) or not content["predictions"]:
        raise Mistake(f"{path}: predictions: there is none; {PREDICTION_FORM}")
    content["predictions"] = tuple(read_prediction(path, one) for one in content["predictions"])
    for key in ("trainings", "arms"):
        content[key] = read_words(path, key, content.get(key))
    for key in ("slide", "words", "stated", "measurement"):
        if not isinstance(content.setdefault(key, None), str) and (key, content[key]) != ("measurement", None):
            raise Mistake(f"{path}: {key}: it is a text, and not {content[key]}; put a number into quotes")
    content["stated"] = " ".join(content["stated"].split())
    for key in ("number", "until"):
        content[key] = int(convert_number(path, key, content.get(key, 0)))
    if content.get("threshold") is not None:
        content["threshold"] = convert_number(path, "threshold", content["threshold"])
    if content["measurement"] is None and content["until"] < 1:
        raise Mistake(f"{path}: until: say how many agent steps of the learning curves are measured")
    return Claim(path.stem, **content, path=path.resolve())


def read_prediction(path: Path, content: Any) -> Prediction:
    """Return a prediction of a claim's file: {measure: area, of: pg, is: above, than: dqn}.

    Raises:
        Mistake: it has other keys, is neither above nor below, or has values of another kind.
    """
    if not isinstance(content, dict) or content.keys() != {"measure", "of", "is", "than"} or content["is"] not in SIDES:
        raise Mistake(f"{path}: {PREDICTION_FORM}, and not {content}")
    if not isinstance(content["measure"], str) or not isinstance(content["of"], str):
        raise Mistake(f"{path}: {PREDICTION_FORM}, and not {content}; measure and of are one name each")
    than = content["than"]
    try:
        than = convert_number(path, "than", than)
    except Mistake as mistake:
        if not isinstance(than, str):  # the name of an arm
            raise Mistake(f"{path}: {PREDICTION_FORM}; than: {than} is no arm and no number") from mistake
    return Prediction(content["measure"], content["of"], content["is"], than)


def convert_number(path: Path, key: str, value: Any) -> float:
    """Return a number of a file; 5e4 is one too, although it is text by YAML 1.1, which PyYAML reads.

    Raises:
        Mistake: it is no finite number.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise Mistake(f"{path}: {key}: it is a number, and not {value}")
    return number


def read_words(path: Path, key: str, value: Any) -> tuple[str, ...]:
    """Return the words of a list in a file; one word by itself is a list of one, and nothing is an empty list.

    Raises:
        Mistake: it is no list, or something else than a word is in it.
    """
    words = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise Mistake(f"{path}: {key}: it is a list of words, and not {value}; key=value is written without spaces")
    return tuple(words)


def read_training(claim: Claim, name: str) -> Training:
    """Read a training of a claim; its file lies in `trainings/` beside that of the claim.

    Raises:
        Mistake: there is no such file, or it cannot be used.
    """
    path = claim.path.parent / "trainings" / f"{name}.yaml"
    if not path.is_file():
        raise Mistake(f"{claim.path}: trainings: there is no {path}")
    content = read_content(path, Training, ("name", "path"))
    if not isinstance(content["arms"], dict) or not content["arms"]:
        raise Mistake(f"{path}: arms: write each arm on a line below it, as in  pg: [algo=pg]")
    if wrong := [arm for arm in content["arms"] if Path(arm).name != arm or arm in ("", "..")]:
        raise Mistake(f"{path}: arms: {wrong[0]}: an arm is named by a word, which is the name of its directory too")
    common = read_words(path, "common", content["common"])
    arms = {arm: read_words(path, f"arms: {arm}", words) for arm, words in content["arms"].items()}
    if wrong := [word for words in (common, *arms.values()) for word in words if "=" not in word]:
        raise Mistake(f"{path}: {wrong[0]}: an override is written key=value")
    return Training(name, common, arms, path)


def read_content(path: Path, kind: type, derived: tuple[str, ...]) -> dict[str, Any]:
    """Read a YAML file that holds the fields of a class.

    Args:
        path: the file.
        kind: a dataclass.
        derived: fields that do not stand in the file.

    Raises:
        Mistake: it is no YAML, or has a field too few or too many.
    """
    read_yaml_nodes(path)  # whose messages name the line
    content = yaml.safe_load(path.read_text("utf-8")) or {}
    known = {one.name: one.default is MISSING for one in fields(kind) if one.name not in derived}
    for key in content:
        if key not in known:
            raise Mistake(f"{path}: {key}: {suggest_option(key, list(known))}")
    if missing := [key for key, is_needed in known.items() if is_needed and key not in content]:
        raise Mistake(f"{path}: {', '.join(missing)} is missing; {kind.__name__} in claims/claim.py says what it is")
    return content
