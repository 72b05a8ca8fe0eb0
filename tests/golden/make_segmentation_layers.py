"""Makes segmentation_layers.safetensors with PyTorch and MONAI: what networks that segment are made of and
trained with, as operators.safetensors: see README.md.
    python3 make_segmentation_layers.py           (any torch >= 1.13, numpy, monai)"""
import torch.nn.functional as F

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


def main():
    ops = Operators()
    ops.stream = 3000
    add_transposed(ops)
    tensor_file.write(f"{FOLDER}/segmentation_layers.safetensors", ops.tensors, {"seed": SEED, **VERSIONS})


if __name__ == "__main__":
    main()
