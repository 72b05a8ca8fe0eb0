"""The networks that segment, in PyTorch: ResNetSeg with torchvision's names, UNet with those of its common PyTorch
versions (downs.0.conv.0 ..., bottleneck, ups, final_conv); along two axes or three."""
import torch
import torch.nn as nn
import torch.nn.functional as F


def layers(dimensions):
    """Convolution, transposed convolution, batch norm, pooling."""
    if dimensions == 2:
        return nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, F.max_pool2d
    return nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d, F.max_pool3d


def make_norm(kind, channels, dimensions, groups=2):
    if kind == "batch":
        return layers(dimensions)[2](channels)
    return nn.GroupNorm(channels if kind == "instance" else groups, channels)


class Block(nn.Module):
    """A basic block, or with `middle` channels a bottleneck."""

    def __init__(self, inputs, middle, channels, kernel, stride, norm, dimensions):
        super().__init__()
        conv = layers(dimensions)[0]
        widths = [inputs, middle, middle, channels] if middle else [inputs, channels, channels]
        kernels = [1, kernel, 1] if middle else [kernel, kernel]
        strides = [1, stride, 1] if middle else [stride, 1]
        self.count = len(kernels)
        for i, (k, s) in enumerate(zip(kernels, strides)):
            padding = k // 2 if isinstance(k, int) else tuple(e // 2 for e in k)
            setattr(self, f"conv{i + 1}", conv(widths[i], widths[i + 1], k, s, padding, bias=False))
            setattr(self, f"bn{i + 1}", make_norm(norm, widths[i + 1], dimensions))
        self.downsample = None
        if stride != 1 or inputs != channels:
            self.downsample = nn.Sequential(conv(inputs, channels, 1, stride, bias=False),
                                            make_norm(norm, channels, dimensions))

    def forward(self, x):
        shortcut = self.downsample(x) if self.downsample else x
        for i in range(self.count):
            x = getattr(self, f"bn{i + 1}")(getattr(self, f"conv{i + 1}")(x))
            x = F.relu(x + shortcut if i == self.count - 1 else x)
        return x


class ResNetSeg(nn.Module):
    """Logits at half the resolution of the input."""
    PRESETS = {  # narrowing (0: basic blocks), widening, kernel, kernel of transposed convolutions, skips
        "resnet50e2_unet": (2, 1, 3, 4, True),  # 25,549,381
        "resnet34_inplane": (0, 1, (3, 3, 1), 3, False),  # 25,965,253
        "resnet34_full": (0, 1, 3, 2, False),
        "resnet50_x4": (1, 4, 3, 2, False),
    }

    def __init__(self, preset="resnet50e2_unet", inputs=2, classes=5, features=(64, 128, 256, 512),
                 blocks=(3, 4, 6, 3), norm="batch", dimensions=3):
        super().__init__()
        conv, transposed = layers(dimensions)[:2]
        narrowing, widening, kernel, up, self.skips = self.PRESETS[preset]
        self.conv1 = conv(inputs, features[0], 7, 2, 3, bias=False)
        self.bn1 = make_norm(norm, features[0], dimensions)
        self.stages, width = len(features), features[0]
        for i, (f, count) in enumerate(zip(features, blocks)):
            stage = []
            for b in range(count):
                stage.append(Block(width, f // narrowing if narrowing else 0, f * widening, kernel,
                                   2 if b == 0 and i else 1, norm, dimensions))
                width = f * widening
            setattr(self, f"layer{i + 1}", nn.Sequential(*stage))
        for i in range(self.stages - 1, 0, -1):
            f = features[i - 1]
            setattr(self, f"up{i}", transposed(width, f, up, 2, (up - 1) // 2, up % 2, bias=False))
            setattr(self, f"up_bn{i}", make_norm(norm, f, dimensions))
            if self.skips:
                setattr(self, f"dec{i}", conv(2 * f, f, 3, 1, 1, bias=False))
                setattr(self, f"dec_bn{i}", make_norm(norm, f, dimensions))
            width = f
        self.head = conv(width, classes, 1)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        skips = []
        for i in range(self.stages):
            x = getattr(self, f"layer{i + 1}")(x)
            skips.append(x)
        for i in range(self.stages - 1, 0, -1):
            x = F.relu(getattr(self, f"up_bn{i}")(getattr(self, f"up{i}")(x)))
            if self.skips:
                x = getattr(self, f"dec{i}")(torch.cat((skips[i - 1], x), 1))
                x = F.relu(getattr(self, f"dec_bn{i}")(x))
        return self.head(x)


class DoubleConv(nn.Module):
    def __init__(self, inputs, channels, norm, dimensions):
        super().__init__()
        conv = layers(dimensions)[0]
        self.conv = nn.Sequential(
            conv(inputs, channels, 3, 1, 1, bias=False), make_norm(norm, channels, dimensions), nn.ReLU(),
            conv(channels, channels, 3, 1, 1, bias=False), make_norm(norm, channels, dimensions), nn.ReLU())

    def forward(self, x):
        return self.conv(x)


class Attention(nn.Module):
    """How much of each voxel of a skip counts, from what is below it."""

    def __init__(self, channels, norm, dimensions):
        super().__init__()
        conv, half = layers(dimensions)[0], channels // 2
        self.W_g = nn.Sequential(conv(channels, half, 1, bias=False), make_norm(norm, half, dimensions))
        self.W_x = nn.Sequential(conv(channels, half, 1, bias=False), make_norm(norm, half, dimensions))
        self.psi = conv(half, 1, 1)

    def forward(self, below, skip):
        return skip * torch.sigmoid(self.psi(F.relu(self.W_g(below) + self.W_x(skip))))


class UNet(nn.Module):
    """7,766,293 parameters by default."""

    def __init__(self, inputs=1, classes=117, features=(32, 64, 128, 256), norm="batch", dimensions=2,
                 attention=False):
        super().__init__()
        conv, transposed, _, self.pool = layers(dimensions)
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for f in features:
            self.downs.append(DoubleConv(inputs, f, norm, dimensions))
            inputs = f
        self.bottleneck = DoubleConv(inputs, 2 * inputs, norm, dimensions)
        inputs *= 2
        for f in reversed(features):
            self.ups.append(transposed(inputs, f, 2, 2))
            self.ups.append(DoubleConv(2 * f, f, norm, dimensions))
            inputs = f
        self.attentions = nn.ModuleList(Attention(f, norm, dimensions) for f in reversed(features) if attention)
        self.final_conv = conv(features[0], classes, 1)

    def forward(self, x):
        skips = []
        for level in self.downs:
            x = level(x)
            skips.append(x)
            x = self.pool(x, 2)
        x = self.bottleneck(x)
        for i, skip in enumerate(reversed(skips)):
            x = self.ups[2 * i](x)
            if len(self.attentions):
                skip = self.attentions[i](x, skip)
            x = self.ups[2 * i + 1](torch.cat((skip, x), 1))
        return self.final_conv(x)
