"""Prints the numbers of tests/conformance/test_kernels_loss_*.c: losses of inputs given by formula, in
float64, by PyTorch and MONAI, and for each input the sum of gradient times probe.
    python3 loss_values.py                 (torch, numpy, MONAI)"""
import numpy as np
import torch
import torch.nn.functional as F
from monai.losses import BendingEnergyLoss, DiceLoss, DiffusionLoss

import vxm


def count(shape):
    return int(np.prod(shape))


def wave(shape, number, low, high):
    """The values of input `number`: float32 numbers in [low, high], in the order n c d h w."""
    i = np.arange(count(shape), dtype=np.float64)
    values = low + (high - low) * (0.5 + 0.5 * np.sin(0.37 * i + 0.002 * i * i + number))
    return torch.from_numpy(values.astype(np.float32).astype(np.float64).reshape(shape))


def labels(shape, number, most):
    """Blobs of labels 0..most."""
    n, _, d, h, w = (torch.from_numpy(x.astype(np.float64)) for x in np.indices(shape))
    value = torch.sin(0.9 * d + number) + torch.sin(0.7 * h + 0.2 * d) + torch.cos(0.8 * w + n)
    return torch.floor((value + 3) / 6 * (most + 1))


def show(name, loss, *inputs):
    inputs = [x.clone().requires_grad_() for x in inputs]
    y = loss(*inputs)
    y.backward()
    probe = lambda x: torch.cos(0.23 * torch.arange(x.numel(), dtype=torch.float64)).reshape(x.shape)
    slopes = [f"{(x.grad * probe(x)).sum().item():.17g}" for x in inputs]
    print(f"{name}: {y.item():.17g}, {{{', '.join(slopes)}}}")


def dice_warp(moving, fixed, u, classes, background, padding):
    hot = lambda x: F.one_hot(x[:, 0].long(), 16).movedim(-1, 1)[:, :classes].double()
    warped = vxm.warp(hot(moving), u, padding=padding)
    loss = DiceLoss(include_background=background, smooth_nr=1e-5, smooth_dr=1e-5)
    return loss(warped, hot(fixed))


def main():
    shape = (2, 2, 3, 4, 5)
    show("mse", vxm.mse, wave(shape, 0, -1, 1), wave(shape, 1, -1, 1))
    for window, shape in ((5, (2, 1, 7, 6, 8)), (9, (1, 1, 10, 9, 11))):
        show(f"lncc {window}", lambda a, b: vxm.ncc(a, b, window), wave(shape, 0, 0, 1),
             wave(shape, 1, 0, 1))
    u = wave((2, 3, 7, 6, 8), 0, -2, 2)
    show("bending", vxm.bending, u)
    show("bending_compact", BendingEnergyLoss(), u)  # of MONAI 1.6; before, the wide stencil
    show("l1 times 2", lambda u: vxm.grad(u, "l1", 2), u)
    show("l2 times 2", lambda u: vxm.grad(u, "l2", 2), u)
    show("diffusion", DiffusionLoss(), u)
    moving, fixed = labels((2, 1, 6, 7, 8), 0, 6), labels((2, 1, 6, 7, 8), 1, 6)
    u = wave((2, 3, 6, 7, 8), 0, -2.5, 2.5)
    for padding, background, classes in (("zeros", True, 7), ("zeros", False, 5), ("border", False, 7)):
        show(f"dice {padding} background {background} classes {classes}",
             lambda u: dice_warp(moving, fixed, u, classes, background, padding), u)


if __name__ == "__main__":
    main()
