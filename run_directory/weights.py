"""The weights of a checkpoint as plain arrays, so that reading them cannot run code.

    RLlib's module_state.pkl -> write_weights -> weights.safetensors -> read_weights -> name -> array

An agent needs no other file to play, so the run directory of another user can be evaluated safely. Checkpoints of
earlier versions have only module_state.pkl. A pickle can call any function, so an unpickler with a list of admitted
names reads the arrays and dictionaries in it, and refuses everything else.
"""

import pickle
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from run_directory.layout import MODULE_STATE, WEIGHTS
from run_directory.manifest import refuse_damaged_checkpoint
from settings.mistakes import Mistake

ADMITTED = {
    ("collections", "OrderedDict"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),  # numpy 1 and 2
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
}


def write_arrays(checkpoint: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Write weights into a checkpoint.

    Args:
        checkpoint: the folder of the checkpoint.
        weights: name in the network's state_dict -> array.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in weights.items()}
    # `save_file` would write a file that only its owner can read.
    (checkpoint / WEIGHTS).write_bytes(safetensors.numpy.save(arrays))


def write_weights(checkpoint: Path) -> None:
    """Write the weights in RLlib's file of a new checkpoint once more, as plain arrays.

    The weights are read from the file because the learner may be in another process, or on another machine.
    """
    write_arrays(checkpoint, pickle.loads((checkpoint / MODULE_STATE).read_bytes()))


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler of arrays and plain containers, which calls only the functions in ADMITTED."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the class or function that a pickle names, if it is in ADMITTED.

        Raises:
            pickle.UnpicklingError: it is not in ADMITTED.
        """
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array and was not run")
        return super().find_class(module, name)


def read_weights(checkpoint: Path) -> dict[str, np.ndarray]:
    """Read the weights of a checkpoint.

    Returns:
        Name in the network's state_dict -> array.

    Raises:
        Mistake: the checkpoint is damaged, or its file holds something other than weights.
    """
    refuse_damaged_checkpoint(checkpoint)
    file = WEIGHTS if (checkpoint / WEIGHTS).exists() else MODULE_STATE
    try:
        data = (checkpoint / file).read_bytes()
        weights = safetensors.numpy.load(data) if file == WEIGHTS else ArrayUnpickler(BytesIO(data)).load()
    except Exception as error:  # wrong bytes can make pickle raise anything
        why = f"{file} cannot be read as weights ({' '.join(str(error).split())})"
        raise Mistake(f"{checkpoint}: {why}; evaluate the run it was saved by") from error
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(array, np.ndarray) and array.dtype.kind in "fiub"
        for name, array in weights.items()
    ):
        raise Mistake(f"{checkpoint}: {file} holds something else than weights; evaluate the run it was saved by")
    return weights
