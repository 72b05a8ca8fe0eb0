"""Makes segmentation_layers.safetensors with PyTorch and MONAI: what networks that segment are made of and
trained with, as operators.safetensors: see README.md.
    python3 make_segmentation_layers.py           (any torch >= 1.13, numpy, monai)"""
import numpy as np
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss

import tensor_file
from make_registration import FOLDER, SEED, VERSIONS, Operators


def add_transposed(ops):
    def add(name, ci, co, kernel, stride, padding, output_padding, *extent, bias=True):
        parameters = [ops.draw(ci, co, *kernel, low=-0.2, high=0.2)] + ([ops.draw(co)] if bias else [])
        ops.add(name, lambda x, w, b=None: F.conv_transpose3d(x, w, b, stride, padding, output_padding),
                ops.draw(1, ci, *extent), *parameters)
    add("conv_transpose_2", 17, 16, (2, 2, 2), 2, 0, 0, 3, 2, 4)
    add("conv_transpose_3", 8, 17, (3, 3, 3), 2, 1, 1, 2, 3, 4)
    add("conv_transpose_4", 16, 6, (4, 4, 4), 2, 1, 0, 3, 4, 2)
    add("conv_transpose_flat", 16, 8, (1, 2, 2), (1, 2, 2), 0, 0, 2, 5, 3, bias=False)


def draw_labels(ops, *shape, classes):
    labels = np.floor(ops.draw(*shape, low=0, high=classes)).astype(np.uint8)
    labels.flat[::13] = 255
    return labels


def finer(logits, labels):
    return F.interpolate(logits, size=labels.shape[2:], mode="trilinear", align_corners=False)


def add_cross_entropies(ops):
    def add(name, loss, n, classes, extent, factor, *more):
        labels = draw_labels(ops, n, 1, *(e * f for e, f in zip(extent, factor)), classes=classes)
        ops.add(name, lambda x, y, *z: loss(finer(x, y), y[:, 0].long(), *z),
                ops.draw(n, classes, *extent, low=-3, high=3), labels, *more)
    weight = torch.tensor([.1, 1, 1, 2, 1], dtype=torch.float64)
    ce = lambda z, y, **k: F.cross_entropy(z, y, ignore_index=255, **k)

    def focal(z, y):
        p = F.softmax(z, 1).gather(1, y.clamp(max=4)[:, None])[:, 0]
        return ((1 - p) ** 2 * -p.log())[y < 255].mean()
    add("ce", ce, 2, 3, (3, 4, 5), (1, 1, 1))
    add("ce_weighted_finer", lambda z, y: ce(z, y, weight=weight), 2, 5, (2, 3, 4), (2, 2, 2))
    # one of two parts of a batch whose voxels number 83
    add("ce_flat_given", lambda z, y, sums: 2 * ce(z, y, reduction="sum") / sums.detach()[0, 0, 0, 0, 0], 1, 17,
        (2, 3, 5), (1, 2, 2), np.array([83, 2], np.float32).reshape(1, 2, 1, 1, 1))
    add("ce_focal", focal, 1, 5, (2, 3, 3), (2, 2, 2))


def draw_bits(ops, n, classes, *extent):
    """A truth of every class, and the same as packed bits."""
    truth = (ops.draw(n, classes, *extent) > 0.3).astype(np.uint8)
    return torch.from_numpy(truth).double(), np.packbits(truth, axis=1, bitorder="little")


def add_binary_cross_entropies(ops):
    def add(name, n, classes, extent, weight=1.0, gamma=0):
        truth, bits = draw_bits(ops, n, classes, *extent)

        def loss(z, _):
            each = F.binary_cross_entropy_with_logits(z, truth, pos_weight=torch.tensor(weight), reduction="none")
            p = torch.sigmoid(z)
            return (each * (truth * (1 - p) + (1 - truth) * p) ** gamma).mean()
        ops.add(name, loss, ops.draw(n, classes, *extent, low=-4, high=4), bits)
    add("bce", 2, 3, (2, 3, 5))
    add("bce_weighted", 1, 21, (2, 3, 4), weight=3.5)
    add("bce_focal", 1, 9, (1, 4, 5), gamma=2)


def add_dices(ops):
    def softmax(name, loss, n, classes, extent, factor):
        labels = np.floor(ops.draw(n, 1, *(e * f for e, f in zip(extent, factor)), low=0, high=classes))
        ops.add(name, lambda x, y: loss(finer(x, y), y),
                ops.draw(n, classes, *extent, low=-2, high=2), labels.astype(np.uint8))

    def sigmoid(name, loss, n, classes, extent):
        truth, bits = draw_bits(ops, n, classes, *extent)
        ops.add(name, lambda x, _: loss(x, truth), ops.draw(n, classes, *extent, low=-3, high=3), bits)

    def nnunet(z, y):
        p, g = F.softmax(z, 1), F.one_hot(y[:, 0].long(), z.shape[1]).movedim(-1, 1)
        total = lambda x: x.sum((0, 2, 3, 4))[1:]
        return 1 - ((2 * total(p * g) + 1) / (total(p) + total(g) + 1)).mean()
    monai = lambda **k: DiceLoss(softmax=True, to_onehot_y=True, **k)
    softmax("dice_softmax", monai(), 2, 5, (2, 3, 4), (1, 1, 1))
    softmax("dice_softmax_squared_finer", monai(include_background=False, squared_pred=True), 2, 3, (2, 3, 4), (2, 2, 2))
    softmax("dice_softmax_nnunet", nnunet, 2, 4, (3, 2, 5), (1, 1, 1))
    sigmoid("dice_sigmoid", DiceLoss(sigmoid=True), 2, 3, (2, 3, 5))
    sigmoid("dice_sigmoid_batch", DiceLoss(sigmoid=True, batch=True, squared_pred=True, smooth_nr=1, smooth_dr=2), 2, 21,
            (1, 3, 4))


def main():
    ops = Operators()
    ops.stream = 3000
    add_transposed(ops)
    add_cross_entropies(ops)
    add_binary_cross_entropies(ops)
    add_dices(ops)
    tensor_file.write(f"{FOLDER}/segmentation_layers.safetensors", ops.tensors, {"seed": SEED, **VERSIONS})


if __name__ == "__main__":
    main()
