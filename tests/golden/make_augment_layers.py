"""Makes augment_layers.safetensors with PyTorch and SciPy: what augments, as operators.safetensors: see README.md.
    python3 make_augment_layers.py           (any torch >= 1.13, numpy, scipy)"""
import numpy as np
from scipy.ndimage import map_coordinates

import philox
import tensor_file
from make_pose_layers import f32, f64, grid, motions, sample
from make_registration import FOLDER, SEED, VERSIONS, Operators

GROUP, LANES = 64, 16


# --- affine with a deformation -------------------------------------------------------------------------------
def displacement(control, size):
    """SciPy's cubic splines with the coefficients given, going on for ever at the borders: [n d h w 3]."""
    at = [(np.arange(s) + 0.5) * g / s - 0.5 for s, g in zip(size, control.shape[2:])]
    at = np.stack(np.meshgrid(*at, indexing="ij"))
    fields = [[map_coordinates(np.pad(c.astype(np.float64), 3, mode="edge"), at + 3, order=3, prefilter=False)
               for c in one] for one in control]
    return np.moveaxis(np.array(fields), 1, -1)


def add_bent(ops):
    def add(name, source, size, points, mode, padding):
        first, count = (0, 0, 0), source.shape[2:]
        motion, control = motions(2, first, count), ops.draw(2, 3, *points, low=-2.5, high=2.5)
        units = 2 / (np.maximum(np.array(count), 2) - 1)[::-1]
        at = grid(motion, size, first, count) + f64((displacement(control, size)[..., ::-1] * units).copy())
        y = f32(sample(source, at, first, count, mode, padding)).astype(source.dtype)
        ops.tensors.update({f"{name}.x0": source, f"{name}.x1": motion, f"{name}.x2": control, f"{name}.y": y})
    image = ops.draw(2, 2, 6, 8, 9)
    add("bent_zero", image, (5, 9, 11), (3, 2, 4), "bilinear", "zeros")
    add("bent_edge", image, (5, 9, 11), (1, 7, 13), "bilinear", "border")
    masks = np.floor(ops.draw(2, 15, 6, 8, 9, low=0, high=256)).astype(np.uint8)
    add("bent_masks", masks, (5, 9, 11), (2, 3, 1), "nearest", "zeros")


# --- intensities ---------------------------------------------------------------------------------------------
def normals(key, shape):
    """Noise of a sample: voxel v of a channel has number v / 16 mod 4 of block 16 (v / 64) + v mod 16."""
    c, voxels = shape[0], int(np.prod(shape[1:]))
    v = np.arange(voxels, dtype=np.uint64)
    number, out = (v // LANES % 4).astype(int), np.zeros((c, voxels))
    zeros = np.zeros_like(v)
    for channel in range(c):
        counter = (v // GROUP * LANES + v % LANES, zeros + np.uint64(channel), zeros, zeros)
        word = philox.block(counter, key).reshape(-1, 4)
        uniform = (word >> np.uint64(8)).astype(np.float64) / 2 ** 24
        radius = np.sqrt(-2 * np.log(uniform[:, ::2] + 0.5 ** 25))
        angle = 2 * np.pi * uniform[:, 1::2]
        four = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1).reshape(-1, 4)
        out[channel] = four[v.astype(int), number]
    return f64(out.reshape(shape))


def change(x, numbers):
    """As nnU-Net's transforms (batchgeneratorsv2: noise, brightness, contrast with preserve_range, gamma without
    retain_stats), each channel by itself."""
    deviation, key0, key1, factor, contrast, gamma, inverted = numbers
    x = (x + deviation * normals((int(key0), int(key1)), x.shape)) * factor
    for c in range(len(x)):
        mean, low, high = x[c].mean(), x[c].min(), x[c].max()
        x[c] = ((x[c] - mean) * contrast + mean).clamp(low, high)
        for sign, exponent in ((-1, inverted), (1, gamma)):
            z = sign * x[c]
            low, size = z.min(), z.max() - z.min()
            x[c] = sign * (((z - low) / size) ** exponent * size + low)
    return x


def add_intensities(ops):
    def add(name, image, rows):
        numbers = np.zeros((len(rows), 16), np.float32)
        numbers[:, :7] = rows
        y = np.stack([f32(change(f64(x), row)) for x, row in zip(image, numbers[:, :7].astype(np.float64))])
        numbers = numbers.reshape(len(rows), 16, 1, 1, 1)
        ops.tensors.update({f"{name}.x0": image, f"{name}.x1": numbers, f"{name}.y": y})
    image = ops.draw(2, 2, 5, 6, 7, low=-1, high=3)
    add("intensity_noise", image, [[0.3, 1234567, 7654321, 1, 1, 1, 1], [2, 5, 16777215, 1, 1, 1, 1]])
    add("intensity_contrast", image, [[0, 0, 0, 1.2, 0.75, 1, 1], [0, 0, 0, 0.8, 1.25, 1, 1]])
    add("intensity_gamma", image, [[0, 0, 0, 1, 1, 0.7, 1], [0, 0, 0, 1, 1, 1.5, 1.3]])
    add("intensity_all", image, [[0.1, 77, 88, 1.1, 1.2, 0.7, 1.4], [0.2, 99, 11, 0.9, 0.8, 1.5, 0.8]])


def main():
    ops = Operators()
    ops.stream = 7000
    add_bent(ops)
    add_intensities(ops)
    tensor_file.write(f"{FOLDER}/augment_layers.safetensors", ops.tensors, {"seed": SEED, **VERSIONS})


if __name__ == "__main__":
    main()
