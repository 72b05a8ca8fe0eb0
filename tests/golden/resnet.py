"""Residual networks in three dimensions in PyTorch, with torchvision's names (conv1, bn1, layer1.0.conv1 ...)."""
import torch
import torch.nn as nn
import torch.nn.functional as F


def make_norm(kind, channels):
    if kind == "batch":
        return nn.BatchNorm3d(channels)
    return nn.GroupNorm(channels if kind == "instance" else 2, channels)


class BasicBlock(nn.Module):
    def __init__(self, inputs, channels, stride, norm):
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1 = make_norm(norm, channels)
        self.conv2 = nn.Conv3d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = make_norm(norm, channels)
        self.downsample = None
        if stride != 1 or inputs != channels:
            self.downsample = nn.Sequential(nn.Conv3d(inputs, channels, 1, stride, bias=False),
                                            make_norm(norm, channels))

    def forward(self, x):
        shortcut = self.downsample(x) if self.downsample else x
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNetPose(nn.Module):
    """2,095,702 parameters by default; 2,112,166 with coordinates."""

    def __init__(self, features=(16, 32, 64, 128), blocks=(2, 2, 2, 2), hidden=128, numbers=6,
                 coordinates=False, norm="batch"):
        super().__init__()
        self.coordinates = coordinates
        self.conv1 = nn.Conv3d(4 if coordinates else 1, features[0], 7, 2, 3, bias=False)
        self.bn1 = make_norm(norm, features[0])
        self.stages = len(features)
        inputs = features[0]
        for i, (channels, count) in enumerate(zip(features, blocks)):
            stage = [BasicBlock(inputs if b == 0 else channels, channels, 2 if b == 0 and i else 1, norm)
                     for b in range(count)]
            setattr(self, f"layer{i + 1}", nn.Sequential(*stage))
            inputs = channels
        self.fc1 = nn.Linear(inputs, hidden)
        self.fc2 = nn.Linear(hidden, numbers)

    def forward(self, x):
        if self.coordinates:
            axes = [torch.linspace(-1, 1, e, dtype=x.dtype) for e in x.shape[2:]]
            grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
            x = torch.cat([grid.expand(x.shape[0], *grid.shape), x], 1)
        x = F.relu(self.bn1(self.conv1(x)))
        for i in range(self.stages):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.fc2(F.relu(self.fc1(x.mean((2, 3, 4)))))
