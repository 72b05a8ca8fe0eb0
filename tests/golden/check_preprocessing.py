"""Published fixed-size preprocessing with nibabel and PyTorch against what medtrain-dist prepares: in-plane resize
(bilinear, nearest for label maps), slices padded with zeros to a number of them, intensities kept. Optional, not part
of ctest:

    python check_preprocessing.py PROGRAM FOLDER [SOURCE]

PROGRAM: medtrain-dist; FOLDER: for its files; SOURCE: a folder with images/ and labels/ to check, too. Needs numpy,
nibabel, h5py and torch. Ends with 0 if all checks hold."""
import json
import os
import subprocess
import sys

import h5py
import nibabel
import numpy as np
import torch
import torch.nn.functional as functional

SIZE = (48, 80)
SLICES = 64
problems = []


def check(holds, text):
    print(("ok    " if holds else "WRONG ") + text)
    if not holds:
        problems.append(text)


def make_source(folder):
    """Volumes of several sizes and places with two channels, one file each."""
    numbers = np.random.default_rng(5)
    for kind in ("images", "labels"):
        os.makedirs(os.path.join(folder, kind), exist_ok=True)
    for n, shape in enumerate([(31, 52, 17), (64, 40, 64), (48, 80, 9), (96, 160, 32)]):
        turn, _ = np.linalg.qr(numbers.normal(size=(3, 3)))
        affine = np.eye(4)
        affine[:3, :3] = turn * [0.7, 1.1, 2.5]
        affine[:3, 3] = numbers.normal(size=3) * 50
        for c in range(2):
            image = numbers.normal(size=shape).astype(np.float32) * 300 + 40 * c
            nibabel.save(nibabel.Nifti1Image(image, affine), f"{folder}/images/case{n}_{c:04d}.nii.gz")
        label = numbers.integers(0, 5, size=shape).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(label, affine), f"{folder}/labels/case{n}.nii.gz")


def prepare(source, folder, channels):
    os.makedirs(folder, exist_ok=True)
    config = os.path.join(folder, "prepare.cfg")
    with open(config, "w") as file:
        file.write(f'''data: {{
  source = "{source}"; shards = "{folder}/data.h5"; shard_count = 3; channels = {channels};
  orientation = ""; resample = [{SIZE[0]}, {SIZE[1]}, 0]; size = [0, 0, {SLICES}]; crop = "refuse"; multiple = 1;
  intensity = "none"; padding = "zero"; reference_reports = true;
}};
''')
    done = subprocess.run([program, "prepare", config], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)


def resize_image(values):
    slices = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1))).double()[:, None]
    result = functional.interpolate(slices, SIZE, mode="bilinear", align_corners=False)
    return result[:, 0].numpy().transpose(1, 2, 0)


def resize_label(values):
    slices = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1))).double()[:, None]
    result = functional.interpolate(slices, SIZE, mode="nearest-exact")
    return result[:, 0].numpy().transpose(1, 2, 0)


def pad(values):
    before = (SLICES - values.shape[2]) // 2
    return np.pad(values, ((0, 0), (0, 0), (before, SLICES - values.shape[2] - before)))


def new_affine(affine, shape):
    """The middle of the field of view stays in plane; z begins earlier by the slices of padding."""
    scale = np.array([shape[0] / SIZE[0], shape[1] / SIZE[1], 1.0])
    shift = np.array([scale[0] / 2 - 0.5, scale[1] / 2 - 0.5, -((SLICES - shape[2]) // 2)])
    change = np.eye(4)
    change[:3, :3] = np.diag(scale)
    change[:3, 3] = shift
    return affine @ change


def check_case(master, row, files, label_file, pair):
    images = [nibabel.load(file) for file in files]
    label = np.asanyarray(nibabel.load(label_file).dataobj)
    name = os.path.basename(label_file)
    shape = images[0].shape[:3]
    stored = master["image"][row].reshape(len(files), *SIZE, SLICES)
    for c, image in enumerate(images):
        values = image.get_fdata()
        wanted = pad(resize_image(values))
        worst = np.abs(stored[c] - wanted).max() / np.abs(wanted).max()
        check(worst < 1e-6, f"{name}: channel {c}: values, within {worst:.1e}")
        check(np.allclose(pair["range_before"][c], [values.min(), values.max()]), f"{name}: channel {c}: range")
    classes = pad(resize_label(label))
    check((master["label"][row] == classes).all(), f"{name}: classes")
    check(np.allclose(master["affine"][row], new_affine(images[0].affine, shape), atol=1e-4), f"{name}: affine")
    spacing = np.linalg.norm(images[0].affine[:3, :3], axis=0) * [shape[0] / SIZE[0], shape[1] / SIZE[1], 1]
    check(np.allclose(pair["new_spacing"], spacing, rtol=1e-5), f"{name}: spacing")
    check(pair["original_shape"] == list(shape) and pair["new_shape"] == [*SIZE, SLICES], f"{name}: shapes")
    before = (SLICES - shape[2]) // 2
    check(pair["padding_before"] == [0, 0, before] and pair["padding_after"] == [0, 0, SLICES - shape[2] - before],
          f"{name}: padding")
    check(pair["labels_found"] == sorted(set(classes.astype(int).ravel().tolist())), f"{name}: labels found")


def check_source(source, folder, channels):
    prepare(source, folder, channels)
    with open(f"{folder}/preprocessing_report.json") as file:
        pairs = {pair["id"]: pair for pair in json.load(file)["pairs"]}
    with h5py.File(f"{folder}/data.h5") as master:
        for row, name in enumerate(master["id"][:]):
            pair = pairs[name.decode()]
            check_case(master, row, [pair["image"], *pair.get("channel_files", [])], pair["label"], pair)


program, place = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
make_source(os.path.join(place, "source"))
check_source(os.path.join(place, "source"), os.path.join(place, "made"), 2)
if len(sys.argv) > 3:
    check_source(os.path.abspath(sys.argv[3]), os.path.join(place, "given"), 1)
print(f"{len(problems)} problems")
sys.exit(bool(problems))
