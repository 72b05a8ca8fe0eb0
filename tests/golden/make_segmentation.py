"""Makes resnet_seg_*.safetensors and unet_*.safetensors with PyTorch: see README.md.
    python3 make_segmentation.py [NAME ...]          (any torch >= 1.13, numpy)"""
import sys

import numpy as np
import torch
import torch.nn.functional as F

import networks
from networks import draw
from segmentation import ResNetSeg, UNet

FULL_STEPS = 4


def case(name, make, samples, channels, extents, loss, target, full):
    """extents without an axis of 1 for planes."""
    if sys.argv[1:] and name not in sys.argv[1:]:
        return
    image = draw(3000, samples, channels, *extents, low=0.0)
    shape = [samples, channels, *([1] if len(extents) == 2 else []), *extents]
    keep = networks.summary if full else networks.whole
    networks.case(name, make, image, lambda y: loss(y, target), keep, keep,
                  {"extents": np.array(shape, np.int32), "target": target.astype(np.uint8)},
                  FULL_STEPS if full else networks.STEPS)


def labels(classes, samples, *extents):
    """Some are 255: left out."""
    drawn = draw(3001, samples, *extents, low=0, high=classes)
    return np.where(drawn % 1 < 0.05, 255, np.floor(drawn)).astype(np.uint8)


def cross_entropy(y, target):
    """Of logits interpolated to the labels' extents; class 0 weighs 0.1."""
    mode = "trilinear" if target.ndim == 4 else "bilinear"
    fine = F.interpolate(y, size=target.shape[1:], mode=mode, align_corners=False)
    weight = torch.ones(y.shape[1], dtype=y.dtype)
    weight[0] = 0.1
    return F.cross_entropy(fine, torch.from_numpy(target).long(), weight, ignore_index=255)


def bits(classes, samples, *extents):
    """Several structures per voxel: packed, channel c in bit c % 8 of byte c / 8."""
    truth = draw(3001, samples, classes, *extents) > 0.6
    return np.packbits(truth, axis=1, bitorder="little")


def binary_cross_entropy(y, target):
    truth = np.unpackbits(target, axis=1, bitorder="little")[:, : y.shape[1]]
    return F.binary_cross_entropy_with_logits(y, torch.from_numpy(truth).to(y.dtype))


if __name__ == "__main__":
    torch.manual_seed(1)
    small = {"features": (4, 8, 10), "blocks": (1, 2, 1), "classes": 3}
    tiny = {"features": (4, 8), "blocks": (1, 1), "classes": 3}

    def seg(name, samples, extents, channels=2, full=False, **options):
        classes = options.get("classes", 5)
        case(f"resnet_seg_{name}", lambda: ResNetSeg(inputs=channels, **options), samples, channels, extents,
             cross_entropy, labels(classes, samples, *extents), full)

    def unet(name, samples, extents, channels=1, full=False, **options):
        classes = options.get("classes", 117)
        case(f"unet_{name}", lambda: UNet(inputs=channels, **options), samples, channels, extents,
             binary_cross_entropy, bits(classes, samples, *extents), full)

    seg("small", 2, (24, 16, 24), **small)
    seg("inplane", 2, (12, 16, 8), **tiny, preset="resnet34_inplane")
    seg("group", 2, (12, 8, 16), channels=1, **tiny, preset="resnet34_full", norm="group")
    seg("wide", 2, (12, 20), channels=3, **tiny, preset="resnet50_x4", dimensions=2)
    unet("small", 3, (12, 20), features=(4, 6), classes=11)
    unet("instance", 2, (8, 16, 12), channels=2, features=(3, 5), classes=4, norm="instance", dimensions=3)
    unet("attention", 2, (12, 16, 8), features=(4, 6), classes=3, dimensions=3, attention=True)
    seg("full", 2, (32, 32, 32), full=True, blocks=(1, 1, 1, 1))
    unet("full", 2, (64, 48), full=True)
