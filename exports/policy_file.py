"""The file of an exported network: policy.onnx or policy.pt, written and compared with the network it was made from.

ExportedNetwork -> trace -> file -> run by onnxruntime or torch -> the same numbers?
"""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from exports.exported_network import ExportedNetwork
from settings.mistakes import Mistake, format_error

NAMES = {"onnx": "policy.onnx", "torchscript": "policy.pt"}  # format -> name of the file
OPSET = 17  # of ONNX; onnxruntime runs it since 1.13
TOLERANCE = 1e-4  # of outputs; sums in another order differ by some 1e-6


def write_policy(network: ExportedNetwork, format: str, folder: Path) -> Path:
    """Write the file of a network, and check that it computes what the network does; return the file.

    Raises:
        Mistake: torch cannot trace the network, or the file computes something else.
    """
    path, inputs = folder / NAMES[format], make_random_inputs(network, rows=5)
    try:
        with warnings.catch_warnings():
            # Torch calls both ways old. Their successor for ONNX needs two more packages and writes the same graph.
            # Sizes of pictures become constants, as they should.
            warnings.simplefilter("ignore")
            (write_onnx if format == "onnx" else write_torchscript)(network, path)
        found = run_policy(path, inputs, network.outputs)
    except OSError:  # of the disk
        raise
    except Exception as error:  # a torso of the user may raise anything when it is traced, and so may its file
        raise Mistake(
            f"format={format}: torch cannot trace this network ({format_error(error)}); its torso has to be made of "
            "torch functions of tensors, with x.shape[0] and not len(x)"
        ) from error
    with torch.no_grad():
        expected = network(*inputs.values())
    for name, right in zip(network.outputs, expected, strict=True):
        if found[name].shape != right.shape or not np.allclose(found[name], right, TOLERANCE, TOLERANCE):
            raise Mistake(
                f"format={format}: the file does not compute the {name} of this network; its torso does something that "
                "torch cannot trace, such as an if that depends on numbers"
            )
    return path


def write_onnx(network: ExportedNetwork, path: Path) -> None:
    """Write policy.onnx, whose inputs and outputs have the names of the network's and any number of rows."""
    names = [*network.inputs, *network.outputs]
    torch.onnx.export(
        network,
        tuple(network.inputs.values()),
        str(path),
        dynamo=False,
        opset_version=OPSET,
        input_names=list(network.inputs),
        output_names=list(network.outputs),
        dynamic_axes={name: {0: "N"} for name in names},
    )


def write_torchscript(network: ExportedNetwork, path: Path) -> None:
    """Write policy.pt, a function of the inputs in their order that returns the outputs in their order."""
    buffer = io.BytesIO()  # torch, which writes a file in C++, would abort the process on a full disk
    with torch.no_grad():
        torch.jit.save(torch.jit.trace(network, tuple(network.inputs.values())), buffer)
    path.write_bytes(buffer.getvalue())


def make_random_inputs(network: ExportedNetwork, rows: int) -> dict[str, torch.Tensor]:
    """Return name -> random numbers for each input of a network."""
    generator, inputs = torch.Generator().manual_seed(0), {}
    for name, example in network.inputs.items():
        shape = (rows, *example.shape[1:])
        if example.dtype == torch.uint8:
            inputs[name] = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        else:
            inputs[name] = torch.randn(shape, generator=generator)
    return inputs


def run_policy(path: Path, inputs: dict[str, torch.Tensor], outputs: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return name -> array of each output of a policy file."""
    if path.suffix == ".onnx":
        import onnxruntime  # pyright: ignore[reportMissingImports]  # of the extra `export`

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        found: Any = session.run(list(outputs), {name: x.numpy() for name, x in inputs.items()})
    else:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            found = [x.numpy() for x in torch.jit.load(path)(*inputs.values())]
    return dict(zip(outputs, found, strict=True))
