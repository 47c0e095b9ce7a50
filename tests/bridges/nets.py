"""Small torch networks: every kind of layer that a classifier is likely to have."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import torch
from torch import nn


class LeNet(nn.Module):
    """x [N, 1, 28, 28] -> [N, 10]; one pooling is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.pool, self.flatten = nn.MaxPool2d(2), nn.Flatten()
        self.fc1, self.fc2, self.fc3 = nn.Linear(256, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.conv1(x)))
        x = self.pool(torch.relu(self.conv2(x)))
        x = torch.relu(self.fc1(self.flatten(x)))
        return self.fc3(torch.relu(self.fc2(x)))


class Recurrent(nn.Module):
    """x [N, T, 6] -> [N, 4], from the last step."""

    def __init__(self, kind: str, layers: int = 2, both_ways: bool = False) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(6, 8, layers, batch_first=True, bidirectional=both_ways)
        self.head = nn.Linear(16 if both_ways else 8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


class Attention(nn.Module):
    """Token numbers [N, T] and a mask [N, T] -> {"logits": [N, 3], "hidden": ...}."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.position = nn.Parameter(torch.randn(12, 16))
        self.attend = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.embed(ids) + self.position[: ids.shape[1]]
        x = self.attend(x, src_key_padding_mask=mask == 0)
        w = mask[..., None].to(x.dtype)
        return {"hidden": x, "logits": self.head((x * w).sum(1) / w.sum(1))}


class Residual(nn.Module):
    """Two convolutions with batch normalisation, and the input added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, groups=2)
        self.bn2 = nn.BatchNorm2d(width)
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act(self.bn1(self.conv1(x)))
        return self.act(x + self.bn2(self.conv2(y)))


@dataclasses.dataclass
class Out:
    probabilities: torch.Tensor
    scores: torch.Tensor


class Answers(nn.Module):
    """Answers with `wrap` of its logits."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 3)
        self.wrap = wrap

    def forward(self, x: torch.Tensor) -> Any:
        return self.wrap(self.fc(x))


class Branches(nn.Module):
    """Looks at the values of its input, so it cannot be exported."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.fc(x)) if float(x.sum()) > 0 else self.fc(x)


class Conditional(nn.Module):
    """Branches on data in the form that torch can export, with weights in a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cond(x.sum() > 0, lambda v: self.a(v), lambda v: torch.tanh(self.b(v)), (x,))


class Mean(nn.Module):
    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(self.axes)


NETS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "lenet": (LeNet, (1, 28, 28)),
    "cnn_1d": (
        lambda: nn.Sequential(
            nn.Conv1d(3, 8, 5, padding=2, stride=2),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(8, 8, 3, dilation=2),
            nn.LeakyReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        ),
        (3, 40),
    ),
    "lstm": (lambda: Recurrent("LSTM"), (7, 6)),
    "lstm_both_ways": (lambda: Recurrent("LSTM", 1, True), (7, 6)),
    "gru": (lambda: Recurrent("GRU"), (7, 6)),
    "rnn": (lambda: Recurrent("RNN", 1, True), (7, 6)),
    "mlp": (
        lambda: nn.Sequential(
            nn.Linear(10, 16),
            nn.LayerNorm(16),
            nn.GELU(),
            nn.Dropout(),
            nn.Linear(16, 16),
            nn.GELU(approximate="tanh"),
            nn.Linear(16, 3),
        ),
        (10,),
    ),
    "residual": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2),
            Residual(8),
            nn.AvgPool2d(3, 2, padding=1, ceil_mode=True),
            nn.Hardswish(),
            Mean(2, 3),
            nn.Linear(8, 4),
        ),
        (3, 17, 17),
    ),
    "decoder": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.GroupNorm(2, 8),
            nn.SiLU(),
            nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1, output_padding=1, groups=2),
            nn.InstanceNorm2d(6, affine=True),
            nn.ELU(),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Upsample(size=(11, 9)),
            nn.PixelUnshuffle(1),
            nn.Mish(),
            Mean(2, 3),
            nn.Linear(6, 4),
        ),
        (3, 12, 12),
    ),
    "pads": (
        lambda: nn.Sequential(
            nn.ReflectionPad2d(2),
            nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
            nn.PReLU(4),
            nn.ZeroPad2d((1, 0, 0, 2)),
            nn.Softplus(),
            nn.AdaptiveAvgPool2d((2, 2)),
            nn.Flatten(),
            nn.LogSoftmax(-1),
            nn.Linear(16, 4),
        ),
        (3, 10, 10),
    ),
}

TITLES = {
    "lenet": "LeNet",
    "cnn_1d": "1-D CNN, BatchNorm",
    "lstm": "LSTM, two layers",
    "lstm_both_ways": "LSTM, both ways",
    "gru": "GRU, two layers",
    "rnn": "RNN, both ways",
    "mlp": "MLP, LayerNorm, GELU",
    "residual": "residual block, BatchNorm",
    "decoder": "ConvTranspose, resizing, GroupNorm, InstanceNorm",
    "pads": "paddings, PReLU, Softplus, LogSoftmax",
}
"""What the networks are called in docs/conversion.md."""


def build(name: str, n: int = 4, seed: int = 0) -> tuple[nn.Module, torch.Tensor]:
    """A network in evaluation mode, its running statistics not those of the start, and inputs."""
    make, shape = NETS[name]
    torch.manual_seed(seed)
    net = make()
    for part in net.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_(std=0.2)
            part.running_var.uniform_(0.5, 1.5)
    return net.eval(), torch.randn(n, *shape)


def patched(net: nn.Module, factor: float) -> nn.Module:
    """With another forward pass: of its layer `fc`, times a factor."""
    net.forward = types.MethodType(lambda self, x: self.fc(x) * factor, net)
    return net


def hooked(net: nn.Module, factor: float) -> nn.Module:
    """With a hook that multiplies what it answers."""
    net.register_forward_hook(lambda module, given, out: out * factor)
    return net
