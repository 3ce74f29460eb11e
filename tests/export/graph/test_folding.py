import numpy as np
import pytest
import torch
from torch import nn

from muqrt.export.graph.folding import array, fold_batch_norm, linear


def shaken(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.BatchNorm1d | nn.BatchNorm2d:
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
        tensor.normal_()
    norm.running_var.uniform_(0.1, 4)
    return norm.eval()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rank", [1, 2])
def test_a_folded_batch_norm_changes_nothing(rank: int, bias: bool) -> None:
    torch.manual_seed(rank)
    convolution_class, norm_class = [(nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d)][
        rank - 1
    ]
    convolution = convolution_class(3, 5, 3, bias=bias)
    norm = shaken(norm_class(5))
    x = torch.randn(2, 3, *[9] * rank)
    expected = norm(convolution(x))
    kernel, folded_bias = fold_batch_norm(convolution, norm)
    with torch.no_grad():
        convolution.weight.copy_(torch.from_numpy(kernel))
        convolution.bias = nn.Parameter(torch.from_numpy(folded_bias).float())
    torch.testing.assert_close(convolution(x), expected, rtol=1e-4, atol=1e-5)


def test_a_linear_layer_is_transposed_and_scaled() -> None:
    module = nn.Linear(3, 2)
    matrix, bias = linear(module, 0.5)
    x = np.arange(3.0)
    expected = 0.5 * (array(module.weight) @ x + array(module.bias))
    np.testing.assert_allclose(x @ matrix + bias, expected)
