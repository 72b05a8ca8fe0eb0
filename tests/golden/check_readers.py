"""Other programs' readers on everything that medtrain-dist writes: TensorBoard on event files, nibabel and
SimpleITK on volumes and displacements, h5py on shards. Makes its own small run. Optional, not part of ctest:

    python check_readers.py PROGRAM FOLDER [MOVING FIXED ...]

PROGRAM: medtrain-dist; FOLDER: for the run and its files; more pairs of volumes may follow. Needs numpy,
nibabel, h5py, SimpleITK and tensorboard. Ends with 0 if all checks hold."""
import json
import os
import struct
import subprocess
import sys

import h5py
import nibabel
import numpy as np
import SimpleITK as sitk
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tensor_file

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = os.path.join(HERE, "..", "..", "configs", "smoke", "registration.cfg")
STEPS = 24
STOPPED = 85  # exit status of a run that was asked to stop
FACTOR = 20  # see make_strong_weights
problems = []


def check(holds, text):
    print(("ok    " if holds else "WRONG ") + text)
    if not holds:
        problems.append(text)


def run(*words, expected=0):
    done = subprocess.run([program, *words], capture_output=True, text=True)
    if done.returncode != expected:
        sys.exit(f"{' '.join(words)}: exit status {done.returncode}\n{done.stderr}")
    return done.stdout


# Event files

def event_scalars(events):
    tags = events.Tags()["scalars"]
    for tag in ("train/loss", "train/mse", "train/smoothness", "train/dice", "train/learning_rate",
                "train/gradient_norm"):
        found = events.Scalars(tag) if tag in tags else []
        check([e.step for e in found] == list(range(1, STEPS + 1)), f"TensorBoard: {tag}, every step")
        check(np.isfinite([e.value for e in found]).all(), f"TensorBoard: {tag} is finite")
    with open("run/metrics.csv") as file:
        rows = [line.strip().split(",") for line in file]
    column = rows[0].index("loss")
    table = [float(row[column]) for row in rows[1:]]
    check(np.allclose(table, [e.value for e in events.Scalars("train/loss")], rtol=1e-6),
          "TensorBoard: the losses are those of metrics.csv")
    check("validation/dice" in tags, "TensorBoard: validation/dice")


def event_images(events):
    tags = events.Tags()["images"]
    check({"pair/moving", "pair/fixed", "pair/warped", "pair/before", "pair/after", "pair/grid"} <= set(tags),
          "TensorBoard: six pictures")
    for tag in tags:
        last = events.Images(tag)[-1]
        path = tag.replace("/", "_") + ".png"
        with open(path, "wb") as file:
            file.write(last.encoded_image_string)
        pixels = sitk.GetArrayFromImage(sitk.ReadImage(path))
        check(pixels.shape[:2] == (last.height, last.width) and np.ptp(pixels) > 50,
              f"TensorBoard: {tag} is a picture, {last.width} x {last.height} (see {path})")


def event_rest(events):
    histograms = events.Tags()["distributions"]
    histogram = events.Histograms("weights/flow.weight")[-1].histogram_value
    check(len(histograms) >= 24 and histogram.num == 16 * 3 * 27 and sum(histogram.bucket) == histogram.num,
          f"TensorBoard: {len(histograms)} histograms, that of flow.weight counts all weights")
    text = events.Tensors("config") if "config" in events.Tags()["tensors"] else []
    check(len(text) == 2 and b"learning_rate" in text[0].tensor_proto.string_val[0],
          "TensorBoard: the config as text")


def check_events():
    names = [name for name in os.listdir("run") if "tfevents" in name]
    check(len(names) == 2, "one event file of the run, one of its continuation")
    events = EventAccumulator("run", size_guidance=dict.fromkeys(
        ("scalars", "images", "histograms", "compressedHistograms", "tensors"), 0))
    events.Reload()
    event_scalars(events)
    event_images(events)
    event_rest(events)


# Phantoms and shards

def subject_files(number):
    return [f"volumes/{kind}/phantom_{number:03d}.nii.gz" for kind in ("images", "labels")]


def check_phantoms():
    for number in range(12):
        image, labels = map(nibabel.load, subject_files(number))
        same = np.array_equal(image.affine, labels.affine) and np.allclose(image.get_qform(), image.get_sform())
        values = np.asarray(labels.dataobj)
        check(same and image.shape == labels.shape == (32, 32, 32) and values.dtype == np.uint8 and
              values.max() == 12 and np.isfinite(image.get_fdata()).all(),
              f"nibabel: phantom {number}, {image.header.get_zooms()} mm, "
              f"{''.join(nibabel.aff2axcodes(image.affine))}")


def check_shards():
    run("prepare", CONFIG, *SETTINGS, 'data.orientation=""', "data.multiple=1", "data.intensity=none",
        'data.shards="plain/plain.h5"')
    with h5py.File("plain/plain.h5") as plain, h5py.File("shards/registration.h5") as prepared:
        for row, name in enumerate(plain["id"][:]):
            image, labels = map(nibabel.load, subject_files(int(name[-3:])))
            values = image.get_fdata(dtype=np.float32)
            check(np.array_equal(plain["image"][row], values) and
                  np.array_equal(plain["label"][row], np.asarray(labels.dataobj)) and
                  np.allclose(plain["affine"][row], image.affine), f"h5py: {name.decode()}, unchanged")
            json.loads(plain["history"][row])
            low, high = np.percentile(values, 0), np.percentile(values, 99.9)
            ras = nibabel.as_closest_canonical(nibabel.Nifti1Image(
                np.clip((values - low) / (high - low), 0, 1), image.affine))
            check(np.abs(prepared["image"][row] - ras.get_fdata()).max() < 1e-5 and
                  np.allclose(prepared["affine"][row], ras.affine),
                  f"h5py: {name.decode()}, RAS and percentiles as numpy has them")


# Predictions

def read_safetensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[first:end], "<f4").reshape(entry["shape"])
    return tensors


def make_strong_weights(factor):
    """A few steps leave the displacement near 0: the last layer is multiplied, to see something move."""
    run("export", "run/checkpoints/last.medtrain", "weights.safetensors")
    tensors = read_safetensors("weights.safetensors")
    tensors["flow.weight"] = tensors["flow.weight"] * np.float32(factor)
    tensor_file.write("strong.safetensors", tensors, {"format": "pt"})
    run("import", "strong.safetensors", "strong.medtrain")


def reorient(image, code):
    target = nibabel.orientations.axcodes2ornt(code)
    return image.as_reoriented(nibabel.orientations.ornt_transform(
        nibabel.orientations.io_orientation(image.affine), target))


def move(image, degrees=(0, 0, 0), shift=(0, 0, 0)):
    """Turned about the world's axes and shifted; the voxels stay."""
    affine = image.affine.copy()
    for axis, angle in enumerate(np.radians(degrees)):
        turn, (b, c) = np.eye(4), [a for a in range(3) if a != axis]
        turn[[b, c, b, c], [b, c, c, b]] = np.cos(angle), np.cos(angle), np.sin(angle), -np.sin(angle)
        affine = turn @ affine
    affine[:3, 3] += shift
    return nibabel.Nifti1Image(np.asarray(image.dataobj), affine)


SCENES = {
    "both RAS": (lambda m: m, lambda f: f),
    "both LPS": (lambda m: reorient(m, "LPS"), lambda f: reorient(f, "LPS")),
    "RAS to LPS": (lambda m: m, lambda f: reorient(f, "LPS")),
    "PIR to SLA": (lambda m: reorient(m, "PIR"), lambda f: reorient(f, "SLA")),
    "oblique to RAS": (lambda m: move(m, (15, -10, 20)), lambda f: f),
    "RAS to oblique LSA": (lambda m: m, lambda f: move(reorient(f, "LSA"), (-20, 12, 8))),
    "another origin": (lambda m: move(m, shift=(40, -25, 60)), lambda f: move(f, shift=(-7, 3, 11))),
    "cropped to anisotropic": (lambda m: m.slicer[3:, :29, 2:31], lambda f: f.slicer[:, :, ::2]),
    "anisotropic oblique to LIP": (lambda m: move(m.slicer[::2], (5, 25, -15)), lambda f: reorient(f, "LIP")),
}


def interior(shape, margin):
    inside = np.zeros(shape, bool)
    inside[tuple(slice(margin, -margin) for _ in shape)] = True
    return inside


def same_place(a, b):
    return (a.GetSize() == b.GetSize() and
            all(np.allclose(getattr(a, get)(), getattr(b, get)(), atol=1e-4)
                for get in ("GetOrigin", "GetSpacing", "GetDirection")))


def jacobian_by_itk(field):
    """ITK's filter leaves out the direction of the grid's axes: the vectors are turned to them first."""
    direction = np.array(field.GetDirection()).reshape(3, 3)
    turned = sitk.GetImageFromArray(sitk.GetArrayFromImage(field) @ direction, isVector=True)
    turned.SetSpacing(field.GetSpacing())
    return sitk.DisplacementFieldJacobianDeterminant(turned)


def check_prediction(name, moving_path, fixed_path, labels_path, folder, *settings):
    files = [moving_path, fixed_path] + ([labels_path] if labels_path else [])
    run("predict", CONFIG, *SETTINGS, "--checkpoint", "strong.medtrain", "--output", folder, *settings, *files)
    fixed_header = nibabel.load(fixed_path)
    for written in sorted(os.listdir(folder)):
        volume = nibabel.load(os.path.join(folder, written))
        shape = fixed_header.shape + ((1, 3) if written.startswith("displacement") else ())
        check(volume.shape == shape and np.allclose(volume.affine, fixed_header.affine, atol=1e-4) and
              np.isfinite(volume.get_fdata()).all(), f"nibabel: {name}: {written} {volume.shape}")
    vector = nibabel.load(f"{folder}/displacement.nii.gz")
    check(vector.header.get_intent()[0] == "vector", f"nibabel: {name}: the displacement's intent is vector")

    moving, fixed = sitk.ReadImage(moving_path, sitk.sitkFloat32), sitk.ReadImage(fixed_path, sitk.sitkFloat32)
    field = sitk.ReadImage(f"{folder}/displacement.nii.gz", sitk.sitkVectorFloat64)
    jacobian = jacobian_by_itk(field)
    transform = sitk.DisplacementFieldTransform(sitk.Image(field))
    warped = sitk.ReadImage(f"{folder}/warped.nii.gz", sitk.sitkFloat32)
    check(same_place(warped, fixed), f"ITK: {name}: warped lies where fixed lies")
    by_itk = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, 0.0))
    ones = sitk.Image(moving.GetSize(), sitk.sitkFloat32) + 1
    ones.CopyInformation(moving)
    seen = sitk.Resample(ones, fixed, transform, sitk.sitkLinear, 0.0)
    seen = sitk.GetArrayFromImage(sitk.BinaryErode(sitk.Cast(seen > 0.5, sitk.sitkUInt8), (1, 1, 1)))
    inside = interior(by_itk.shape, 2) & (seen > 0)
    ours, extremes = sitk.GetArrayFromImage(warped), np.ptp(sitk.GetArrayFromImage(moving))
    difference = np.abs(ours - by_itk)[inside] / extremes
    unmoved = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, sitk.Transform(), sitk.sitkLinear, 0.0))
    motion = np.abs(ours - unmoved)[inside].mean() / extremes
    length = np.linalg.norm(sitk.GetArrayFromImage(field), axis=-1)[inside].mean()
    check(inside.mean() > 0.2 and difference.mean() < 1e-4 and motion > 0.01,
          f"ITK: {name}: warped differs by {difference.mean():.1e} of the range (at most {difference.max():.1e}) in "
          f"{inside.mean():.0%} of voxels; moved by {length:.1f} mm, which changes {motion:.1%} of the range")
    found = nibabel.load(f"{folder}/jacobian.nii.gz").get_fdata().T
    error = np.abs(found - sitk.GetArrayFromImage(jacobian))[interior(found.shape, 2)]
    check(error.max() < 1e-3 and found.std() > 0.02,
          f"ITK: {name}: the Jacobian differs by {error.max():.1e} at most, deviation {found.std():.2f}")
    if labels_path:
        by_itk = sitk.Resample(sitk.ReadImage(labels_path), fixed, transform, sitk.sitkNearestNeighbor, 0)
        ours = sitk.ReadImage(f"{folder}/warped_labels.nii.gz")
        equal = (sitk.GetArrayFromImage(by_itk) == sitk.GetArrayFromImage(ours))[inside].mean()
        check(equal > 0.999, f"ITK: {name}: {equal:.4%} of the warped labels are the same")


def check_scene(number, name):
    change_moving, change_fixed = SCENES[name]
    os.makedirs(f"scene{number}", exist_ok=True)
    paths = [f"scene{number}/{kind}.nii.gz" for kind in ("moving", "labels", "fixed")]
    image, labels = map(nibabel.load, subject_files(1))
    nibabel.save(change_moving(image), paths[0])
    nibabel.save(change_moving(labels), paths[1])
    nibabel.save(change_fixed(nibabel.load(subject_files(2)[0])), paths[2])
    check_prediction(name, paths[0], paths[2], paths[1], f"scene{number}/out")


SETTINGS = ['output.dir="run"', 'data.source="volumes"', 'data.shards="shards/registration.h5"',
            f"train.steps={STEPS}", "train.slots=2", "train.learning_rate=0.001", "threads=1"]


def main(extra):
    run(CONFIG, *SETTINGS, f"train.stop_at={STEPS // 2}", expected=STOPPED)
    run(CONFIG, *SETTINGS)
    check_events()
    check_phantoms()
    check_shards()
    make_strong_weights(FACTOR)
    for number, name in enumerate(SCENES):
        check_scene(number, name)
    for number, (moving, fixed) in enumerate(zip(extra[::2], extra[1::2])):
        check_prediction(f"{os.path.basename(moving)} to {os.path.basename(fixed)}", moving, fixed, None,
                         f"pair{number}", "data.resample=[64,64,64]")
    print(f"{len(problems)} problems" + "".join("\n  " + text for text in problems))
    sys.exit(bool(problems))


if __name__ == "__main__":
    if len(sys.argv) < 3 or len(sys.argv) % 2 == 0:
        sys.exit(__doc__)
    program = os.path.abspath(sys.argv[1])
    pairs = [os.path.abspath(path) for path in sys.argv[3:]]
    os.makedirs(sys.argv[2], exist_ok=True)
    os.chdir(sys.argv[2])
    main(pairs)
