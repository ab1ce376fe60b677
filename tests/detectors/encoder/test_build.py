import shutil
import sys

import numpy as np
import pytest

from detectors.encoder import BuildFailedError
from detectors.encoder.onnx_backend import OnnxModel
from detectors.encoder.onnx_backend import open_model as open_onnx
from detectors.encoder.onnx_build import build
from detectors.encoder.weights import find_weights

IDS = np.array([[101, 7592, 2088, 102]])
LENGTHS = np.array([4])


@pytest.mark.integration
def test_whoever_builds_second_disturbs_nobody(tmp_path, encoder, cache):
    graph = tmp_path / "model.onnx"
    shutil.copy(cache / encoder.fingerprint / "model.onnx", graph)
    first = OnnxModel(graph)
    build(find_weights().directory, graph)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    np.testing.assert_array_equal(first.run(IDS, LENGTHS), OnnxModel(graph).run(IDS, LENGTHS))


def test_a_built_graph_is_opened_and_not_built_again(tmp_path, encoder, cache):
    shutil.copy(cache / encoder.fingerprint / "model.onnx", tmp_path / "model.onnx")
    assert open_onnx(tmp_path / "no weights are needed", tmp_path).run(IDS, LENGTHS).shape == (1, 3, 384)


def test_a_failed_build_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(BuildFailedError, match=r"could not be built \(exit 1\): no output"):
        open_onnx(tmp_path, tmp_path / "cache")
