"""Makes pose_layers.safetensors with PyTorch: what the pose system adds to networks, as operators.safetensors: see
README.md.
    python3 make_pose_layers.py           (any torch >= 1.13, numpy, scipy)"""
import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation

import philox
import tensor_file
from make_registration import FOLDER, SEED, VERSIONS, Operators, f32, f64

MOTION, RANGES = 32, np.array([60.0] * 3 + [25.0] * 3)
HALF_EXTENT, ROUNDING, WEIGHT = torch.tensor([150.0, 140.0, 90.0], dtype=torch.float64), 1e-3, 0.5


# --- affine -----------------------------------------------------------------------------------------------
def motions(samples, first, count):
    """Rotations, scalings and shifts of voxels; the box of valid voxels; the noise's key, mean and deviation."""
    values = np.zeros((samples, MOTION), np.float32)
    for n in range(samples):
        turn = Rotation.from_euler("xyz", [20 - 9 * n, -15 + 8 * n, 30 * n + 10], degrees=True).as_matrix()
        scale = np.diag([0.8, 1.1, 0.9])
        middle, target = np.array([2.5, 3.1, 4.2]), np.array([2.0, 4.0, 5.0])
        matrix = turn @ scale
        values[n, :12] = np.concatenate([matrix, (middle - matrix @ target)[:, None]], 1).ravel()
        values[n, 12:18], values[n, 18:22] = (*first, *count), (1234567 + n, 7654321, 0.5, 2)
    return values.reshape(samples, MOTION, 1, 1, 1)


def grid(motion, size, first, count):
    """Positions in grid_sample's units of the box: [n d h w 3], the last axis w h d."""
    place = np.stack(np.meshgrid(*[np.arange(s) for s in size], indexing="ij"), -1).astype(np.float64)
    matrix = motion.reshape(len(motion), MOTION)[:, :12].astype(np.float64).reshape(-1, 3, 4)
    p = np.einsum("nij,dhwj->ndhwi", matrix[:, :, :3], place) + matrix[:, None, None, None, :, 3]
    p = (p - np.array(first)) / (np.array(count) - 1) * 2 - 1
    return f64(p[..., ::-1].copy())


def sample(source, positions, first, count, mode, padding):
    box = tuple(slice(f, f + c) for f, c in zip(first, count))
    return F.grid_sample(f64(source)[(..., *box)], positions, mode=mode, padding_mode=padding, align_corners=True)


def noise(motion, shape):
    n, c, d, h, w = shape
    out = np.zeros((n, 4, d * h * w))
    zeros = np.zeros(d * h * w, np.uint64)
    for i, values in enumerate(motion.reshape(n, MOTION)):
        word = philox.block((np.arange(d * h * w), zeros, zeros, zeros), (int(values[18]), int(values[19])))
        uniform = (word.reshape(-1, 4) >> np.uint64(8)).astype(np.float64) / 2 ** 24
        for k in (0, 2):
            radius, angle = np.sqrt(-2 * np.log(uniform[:, k] + 0.5 ** 25)), 2 * np.pi * uniform[:, k + 1]
            out[i, k], out[i, k + 1] = radius * np.cos(angle), radius * np.sin(angle)
        out[i] = values[20] + values[21] * out[i]
    return f64(out[:, :c].reshape(shape))


def add_affine(ops):
    source, size, first, count = ops.draw(2, 2, 6, 8, 9), (5, 9, 11), (0, 0, 0), (6, 8, 9)
    labels = np.floor(ops.draw(2, 1, 6, 8, 9, low=0, high=5)).astype(np.uint8)

    def add(name, image, motion, y):
        ops.tensors.update({f"{name}.x0": image, f"{name}.x1": motion, f"{name}.y": y})
    motion = motions(2, first, count)
    at = grid(motion, size, first, count)
    zeros = sample(source, at, first, count, "bilinear", "zeros")
    weight = sample(np.ones_like(source), at, first, count, "bilinear", "zeros")
    add("affine_zero", source, motion, f32(zeros))
    add("affine_edge", source, motion, f32(sample(source, at, first, count, "bilinear", "border")))
    add("affine_noise", source, motion, f32(zeros + (1 - weight) * noise(motion, zeros.shape)))
    add("affine_nearest", source, motion, f32(sample(source, at, first, count, "nearest", "border")))
    add("affine_labels", labels, motion, f32(sample(labels, at, first, count, "nearest", "zeros")).astype(np.uint8))
    first, count, radius = (1, 0, 2), (4, 7, 5), (2.2, 3.9, 6.0)
    motion = motions(2, first, count)
    at = grid(motion, size, first, count)
    place = np.meshgrid(*[np.arange(s) - (s - 1) / 2 for s in size], indexing="ij")
    kept = sum((p / r) ** 2 for p, r in zip(place, radius)) <= 1
    add("affine_box_sphere", source, motion, f32(sample(source, at, first, count, "bilinear", "border") * f64(kept)))


# --- layers -----------------------------------------------------------------------------------------------
def add_layers(ops):
    x, flat = ops.draw(2, 18, 3, 4, 5), ops.draw(3, 37, 1, 1, 1)
    weight, bias = ops.draw(6, 37, low=-0.2, high=0.2), ops.draw(6)
    ops.add("average_pool", lambda v: F.adaptive_avg_pool3d(v, 1), x)

    def coordinates(v):
        axes = [torch.linspace(-1, 1, s, dtype=torch.float64) for s in v.shape[2:]]
        places = torch.stack(torch.meshgrid(*axes, indexing="ij"))
        return places.expand(v.shape[0], 3, *v.shape[2:]) + 0 * v[:, :1]
    ops.add("coordinates", coordinates, x)

    def linear(v, w, b):
        return F.linear(v.flatten(1), w, b)[:, :, None, None, None]
    ops.add("linear", linear, flat, weight, bias)
    ops.add("linear_relu", lambda v, w, b: F.relu(linear(v, w, b)), flat, weight, bias)


# --- losses -----------------------------------------------------------------------------------------------
def rotation(degrees):
    """Rz Ry Rx of [n 3]."""
    x, y, z = torch.deg2rad(degrees).unbind(1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)

    def matrix(*rows):
        return torch.stack(rows, 1).reshape(-1, 3, 3)
    rx = matrix(one, zero, zero, zero, x.cos(), -x.sin(), zero, x.sin(), x.cos())
    ry = matrix(y.cos(), zero, y.sin(), zero, one, zero, -y.sin(), zero, y.cos())
    rz = matrix(z.cos(), -z.sin(), zero, z.sin(), z.cos(), zero, zero, zero, one)
    return rz @ ry @ rx


def decode(p):
    if p.shape[1] == 6:
        return rotation(p[:, :3] * RANGES[0]), p[:, 3:] * RANGES[3]
    eye = torch.eye(3, dtype=torch.float64)
    first = F.normalize(p[:, :3] + eye[0], dim=1)
    second = p[:, 3:6] + eye[1]
    second = F.normalize(second - (first * second).sum(1, keepdim=True) * first, dim=1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], 2), p[:, 6:] * RANGES[3]


def rounded(square):
    return (square + ROUNDING ** 2).sqrt() - ROUNDING


def mse(p, target):
    if p.shape[1] == 6:
        return F.mse_loss(p, target / torch.from_numpy(RANGES))
    (r, t), q = decode(p), rotation(target[:, :3])
    return F.mse_loss(torch.cat([r.flatten(1), t / RANGES[3]], 1),
                      torch.cat([q.flatten(1), target[:, 3:] / RANGES[3]], 1))


def geodesic(p, target):
    (r, t), q = decode(p), rotation(target[:, :3])
    s = ((r - q) ** 2).sum((1, 2)) / 8
    angle = 2 * torch.atan2((s + ROUNDING ** 2).sqrt(), (1 - s + ROUNDING ** 2).sqrt())
    exact = (Rotation.from_matrix(r.detach().numpy()).inv() * Rotation.from_euler(
        "xyz", target[:, :3].detach().numpy(), degrees=True)).magnitude()
    assert np.abs(angle.detach().numpy() - exact).max() < 3 * ROUNDING
    least = 2 * np.arctan2(ROUNDING, np.sqrt(1 + ROUNDING ** 2))
    apart = rounded((((t - target[:, 3:]) / RANGES[3]) ** 2).sum(1))
    return (angle - least + WEIGHT * apart).mean()


def corner(p, target):
    (r, t), q = decode(p), rotation(target[:, :3])
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3) * HALF_EXTENT
    apart = torch.einsum("nij,kj->nki", r - q, signs) + (t - target[:, 3:])[:, None]
    return rounded((apart ** 2).sum(2)).mean()


def add_losses(ops):
    target = (ops.draw(3, 6) * RANGES).astype(np.float32)
    for count in (6, 9):
        p = ops.draw(3, count, 1, 1, 1)
        for loss in (mse, geodesic, corner):
            ops.add(f"{loss.__name__}_{count}", lambda v, f=loss: f(v.flatten(1), f64(target)), p)
            ops.tensors[f"{loss.__name__}_{count}.x1"] = target.reshape(3, 6, 1, 1, 1)


def main():
    ops = Operators()
    ops.stream = 4000
    add_affine(ops)
    add_layers(ops)
    add_losses(ops)
    tensor_file.write(f"{FOLDER}/pose_layers.safetensors", ops.tensors, {"seed": SEED, **VERSIONS})


if __name__ == "__main__":
    main()
