"""Makes layers.safetensors with PyTorch: the layers of networks, as operators.safetensors: see README.md.
    python3 make_layers.py           (any torch >= 1.13, numpy)"""
import torch.nn.functional as F

import tensor_file
from make_registration import FOLDER, SEED, VERSIONS, Operators


def leaky(y, slope):
    return F.leaky_relu(y, slope)


def add_batch_norms(ops, wide, planar, scale, shift):
    def draw_running(x):
        channels = x.shape[1]
        return ops.draw(channels, low=-0.5, high=0.5), ops.draw(channels, low=0.5, high=1.5)

    def add(name, x, slope, epsilon=1e-5, weights=(), residual=(), running=False):
        measured = []

        def layer(x, *rest):
            *rest, mean, variance = rest
            mean, variance = mean.detach().clone(), variance.detach().clone()
            added, weights = rest[:len(residual)], rest[len(residual):]
            y = F.batch_norm(x, mean, variance, *(weights or (None, None)), not running, 1.0, epsilon)
            measured.extend((mean, variance))  # with momentum 1: the layer's own
            return leaky(sum(added, y), slope)
        first = 1 + len(residual) + len(weights)
        ops.add(name, layer, x, *residual, *weights, *draw_running(x))
        for i, v in enumerate(measured):
            ops.tensors[f"{name}.dx{first + i}"] = v.numpy().astype("float32")
    add("batch_norm", wide, 1, 1e-3, (scale, shift))
    add("batch_norm_relu", planar, 0)
    add("batch_norm_residual", wide, 0, weights=(scale, shift), residual=(ops.draw(*wide.shape),))
    add("batch_norm_running", wide, 0.2, weights=(scale, shift), running=True)


def add_norms(ops):
    wide, planar = ops.draw(2, 18, 3, 4, 5, low=-1, high=3), ops.draw(3, 4, 3, 5, 4, low=-2, high=1)
    scale, shift = ops.draw(18, low=0.5, high=1.5), ops.draw(18)
    ops.add("instance_norm", lambda x, w, b: F.instance_norm(x, None, None, w, b), wide, scale, shift)
    ops.add("instance_norm_leaky", lambda x: leaky(F.instance_norm(x), 0.01), planar)
    ops.add("instance_norm_residual", lambda x, r: leaky(F.instance_norm(x) + r, 0.01), planar, ops.draw(*planar.shape))
    ops.add("group_norm_relu", lambda x, w, b: F.relu(F.group_norm(x, 6, w, b)), wide, scale, shift)
    add_batch_norms(ops, wide, planar, scale, shift)


def main():
    ops = Operators()
    ops.stream = 2000
    add_norms(ops)
    tensor_file.write(f"{FOLDER}/layers.safetensors", ops.tensors, {"seed": SEED, **VERSIONS})


if __name__ == "__main__":
    main()
