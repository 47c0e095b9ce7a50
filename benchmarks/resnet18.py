"""ResNet-18 in torch, with random weights: what users of Quantus bring."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from .networks import Network


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.relu, self.out = nn.ReLU(), nn.ReLU()
        self.downsample = None
        if stride > 1 or before != after:
            short = nn.Conv2d(before, after, 1, stride, bias=False)
            self.downsample = nn.Sequential(short, nn.BatchNorm2d(after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.out(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """He et al. 2016, Deep residual learning for image recognition, CVPR: the net of 18 layers."""

    def __init__(self, classes: int = 1000):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(64), nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        widths, stages = (64, 64, 128, 256, 512), []
        for i in range(4):
            first = Block(widths[i], widths[i + 1], 2 if i else 1)
            stages.append(nn.Sequential(first, Block(widths[i + 1], widths[i + 1], 1)))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(512, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def resnet18(samples: int, side: int = 64) -> Network:
    """With 10 classes, on smooth random colour images; explained for the predicted class.

    Its JAX model is what the bridge converts it to, so there is none here.
    """
    torch.manual_seed(0)
    net: Any = ResNet18(10)
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (samples, 3, side // 8, side // 8))
    x = np.kron(x, np.ones((8, 8))) + 0.1 * rng.normal(size=(samples, 3, side, side))
    x = x.astype(np.float32)
    with torch.no_grad():
        net.train()(torch.from_numpy(x))  # statistics of the normalisations
        y = net.eval()(torch.from_numpy(x)).argmax(1).numpy()
    return Network("ResNet-18", None, net, x, x, y)  # type: ignore[arg-type]
