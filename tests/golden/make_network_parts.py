"""Makes network_parts.safetensors with numpy, SciPy and PyTorch: what images meet on their way into networks that
segment, dropout, and their head for whole samples, as operators.safetensors: see README.md.
    python3 make_network_parts.py           (any torch >= 1.13, numpy, scipy)"""
import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

import philox
import tensor_file
from make_registration import FOLDER, SEED, VERSIONS, Operators, f32

NUMBERS = 16  # of a sample, in rows


def rows(*samples):
    values = np.zeros((len(samples), NUMBERS, 1, 1, 1), np.float32)
    for row, sample in zip(values, samples):
        row[:len(sample), 0, 0, 0] = sample
    return values


def put(ops, name, y, *inputs):
    """What has no gradient."""
    ops.tensors.update({f"{name}.x{i}": x for i, x in enumerate(inputs)}, **{f"{name}.y": y.astype(np.float32)})


# --- window -----------------------------------------------------------------------------------------------
def add_windows(ops):
    def window(name, image, low, high, start, end):
        low, high = (np.array(v, np.float64).reshape(1, -1, 1, 1, 1) for v in (low, high))
        put(ops, name, np.clip((image.astype(np.float64) - low) / (high - low), 0, 1) * (end - start) + start, image)
    image = ops.draw(2, 1, 3, 5, 7, low=-1500, high=1500)
    window("window_1", image, [-160], [240], 0, 1)
    window("window_3", image, [-160, -1000, -100], [240, 400, 1000], -1, 1)
    window("window_6", image, [-160, -1000, -100, 0, 20, -1500], [240, 400, 1000, 80, 21, 1500], 0, 255)


# --- blur and low resolution ------------------------------------------------------------------------------
def add_blurs(ops):
    """Radius: three deviations, rounded up; at most 5 voxels."""
    def blur(name, image, *deviations):
        y = np.stack([np.stack([ndimage.gaussian_filter(
            channel.astype(np.float64), sample, mode="nearest", radius=[min(int(np.ceil(3 * s)), 5) for s in sample])
            for channel in channels]) for channels, sample in zip(image, deviations)])
        put(ops, name, y, image, rows(*deviations))
    blur("blur", ops.draw(2, 2, 6, 9, 12), (0.75, 1.5, 0.5), (0, 1.25, 0))
    blur("blur_largest", ops.draw(1, 1, 12, 7, 13), (2, 0.25, 3))


def add_low_resolutions(ops):
    def shrink(name, image, *zooms):
        y = []
        for channels, zoom in zip(image, zooms):
            x, extents = torch.from_numpy(channels[None]).double(), channels.shape[1:]
            coarse = F.interpolate(x, [round(e * z) for e, z in zip(extents, zoom)], mode="nearest-exact")
            y.append(F.interpolate(coarse, extents, mode="trilinear")[0].numpy())
        put(ops, name, np.stack(y), image, rows(*zooms))
    shrink("low_resolution", ops.draw(2, 2, 6, 9, 12), (0.5, 0.75, 0.625), (1, 1, 0.875))
    shrink("low_resolution_odd", ops.draw(1, 1, 11, 7, 13), (0.25, 0.5625, 0.9375))


# --- dropout ----------------------------------------------------------------------------------------------
def mask(shape, keys, number, probability):
    """Channel c of voxel v: word c % 4 of the block of (v, c / 4, number, 0)."""
    n, c, *extents = shape
    voxels, groups = int(np.prod(extents)), (c + 3) // 4
    v, g = np.meshgrid(np.arange(voxels, dtype=np.uint64), np.arange(groups, dtype=np.uint64))
    same = np.ones(v.size, np.uint64)
    kept = np.zeros((n, 4 * groups, voxels), bool)
    for i, key in enumerate(keys):
        words = philox.block((v.ravel(), g.ravel(), same * np.uint64(number), 0 * same), key)
        words = words.reshape(groups, voxels, 4).transpose(0, 2, 1).reshape(4 * groups, voxels)
        kept[i] = words >= np.uint64(probability * 2 ** 32)
    return kept[:, :c].reshape(shape)


def add_dropouts(ops):
    def dropout(name, shape, keys, number, probability):
        scale = torch.from_numpy(mask(shape, keys, number, probability) / (1 - probability))
        ops.add(name, lambda x, _: x * scale, ops.draw(*shape), rows(*keys))
    dropout("dropout_half", (2, 3, 4, 5, 7), [(16777215, 9), (12, 7654321)], 1, 0.5)
    dropout("dropout_quarter", (2, 22, 3, 4, 5), [(1234567, 8901234), (0, 0)], 40, 0.25)


# --- classification ---------------------------------------------------------------------------------------
def add_classification(ops, name, hidden):
    """Mean of all voxels, a hidden layer where there is one, logits, and their cross entropy."""
    layers = [(hidden, 18), (3, hidden)] if hidden else [(3, 18)]
    names = ["fc1", "fc2"] if hidden else ["fc2"]
    x = torch.from_numpy(ops.draw(2, 18, 3, 4, 5)).double().requires_grad_()
    labels = np.array([2, 0], np.uint8).reshape(2, 1, 1, 1, 1)
    parameters = {f"{layer}.{part}": torch.from_numpy(ops.draw(*extent, low=-0.4, high=0.4)).double().requires_grad_()
                  for layer, shape in zip(names, layers) for part, extent in (("weight", shape), ("bias", shape[:1]))}
    y = F.adaptive_avg_pool3d(x, 1).flatten(1)
    for layer in names:
        y = F.linear(y, parameters[f"{layer}.weight"], parameters[f"{layer}.bias"])
        y = F.relu(y) if layer == "fc1" else y
    loss = F.cross_entropy(y, torch.from_numpy(labels.ravel()).long())
    loss.backward()
    ops.tensors.update({f"{name}.x": f32(x), f"{name}.labels": labels, f"{name}.logits": f32(y),
                        f"{name}.loss": loss.detach().numpy().reshape(1), f"{name}.dx": f32(x.grad)})
    for key, value in parameters.items():
        ops.tensors.update({f"{name}.{key}": f32(value), f"{name}.gradient.{key}": f32(value.grad)})


def main():
    ops = Operators()
    ops.stream = 4000
    add_windows(ops)
    add_blurs(ops)
    add_low_resolutions(ops)
    add_dropouts(ops)
    add_classification(ops, "classify", 7)
    add_classification(ops, "classify_linear", 0)
    tensor_file.write(f"{FOLDER}/network_parts.safetensors", ops.tensors, {"seed": SEED, **VERSIONS})


if __name__ == "__main__":
    main()
