"""The two networks, as torch modules, so that every tool sees the same one."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn


def mlp() -> tuple[nn.Module, Tensor]:
    """784-512-512-512-10, and an example input."""
    widths = [784, 512, 512, 512, 10]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1]), torch.zeros(1, 784)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions with BatchNorm, and a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, 4·width, H', W')."""
        hidden = torch.relu(self.bn1(self.conv1(x)))
        hidden = torch.relu(self.bn2(self.conv2(hidden)))
        return torch.relu(self.bn3(self.conv3(hidden)) + self.shortcut(x))


class ResNet50(nn.Module):
    """ResNet50: 25.5 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        blocks: list[nn.Module] = []
        inputs = 64
        for width, count, first in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for index in range(count):
                blocks.append(Bottleneck(inputs, width, first if index == 0 else 1))
                inputs = 4 * width
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(inputs, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, 1000)."""
        hidden = torch.relu(self.bn1(self.conv1(x)))
        hidden = nn.functional.max_pool2d(hidden, 3, 2, 1)
        hidden = self.blocks(hidden).mean(dim=(2, 3))
        return self.fc(hidden)


def resnet50() -> tuple[nn.Module, Tensor]:
    """ResNet50, and an example input."""
    return ResNet50(), torch.zeros(1, 3, 64, 64)


NETS = {"mlp-3x512": mlp, "resnet50": resnet50}


def randomise(module: nn.Module, seed: int) -> nn.Module:
    """Fresh weights; norms and biases too, so that they carry information."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            fan = parameter[0].numel() if parameter.dim() > 1 else 4
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan**0.5)
    return module.eval()
