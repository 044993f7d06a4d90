"""Writing a trained model in each of ``FORMATS``: a function each."""

import io
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from node_cli.errors import UserError, one_line
from node_cli.records import safetensors as file_of_weights
from node_cli.records.files import replacing
from node_cli.trained.graph import Graph
from node_cli.trained.model import TrainedModel

MOST_WORDS = 200
"""Letters of what torch says, which may be pages."""

Answers = Callable[[Tensor], Tensor]
"""Images [N, C, H, W] in [0, 1] to probabilities [N, classes]."""


def safetensors(model: TrainedModel, path: Path) -> Answers:
    """The weights alone, by their names in the classifier. The metadata have the configuration and
    the inputs, as JSON. Answers by a model that is given the weights of the file."""
    told = {"config": model.config.model_dump(), "inputs": model.inputs.plain()}
    metadata = {"format": "pt", "node_train": json.dumps(told)}
    file_of_weights.save(path, model.classifier.state_dict(), metadata)
    model.classifier.load_state_dict(file_of_weights.load(path, "format"))
    return model


def torch_export(model: TrainedModel, path: Path) -> Answers:
    """A program of ``torch.export`` for batches of any size."""
    content = io.BytesIO()
    with _silent():
        torch.export.save(_program(model), content)
        _write(path, content.getvalue())
        program = torch.export.load(path)
    return program.module()


def onnx(model: TrainedModel, path: Path) -> Answers:
    """An ONNX model for batches of any size; answers by ONNX Runtime on the CPU."""
    import onnxruntime

    with _silent():
        program = torch.onnx.export(
            _program(model),
            input_names=["images"],
            output_names=["probabilities"],
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    _write(path, program.model_proto.SerializeToString())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def answers(images: Tensor) -> Tensor:
        (found,) = session.run(None, {"images": images.cpu().numpy()})
        return torch.from_numpy(found)

    return answers


def _program(model: TrainedModel) -> torch.export.ExportedProgram:
    # Two images: a batch of one would be taken for a constant.
    example = torch.zeros(2, *model.shape, dtype=model.scale.dtype, device=model.scale.device)
    sizes = {"images": {0: torch.export.Dim("batch")}}
    try:
        return torch.export.export(Graph(model), (example,), dynamic_shapes=sizes)
    except Exception as error:  # whatever a part of the model does
        name = model.config.format
        reason = one_line(error)[:MOST_WORDS]
        raise UserError(f"format={name}: torch.export cannot write the model ({reason})") from error


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def _silent() -> Iterator[None]:
    """Without the warnings of exporters, which are for those who write operators."""
    with warnings.catch_warnings(action="ignore"):
        yield
