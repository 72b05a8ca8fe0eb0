"""Holds the pose system's geometry against SimpleITK, by hand (needs SimpleITK and numpy).
    python3 check_poses.py PROGRAM CONFIG CHECKPOINT FOLDER [key=value ...]
PROGRAM (medtrain-dist) writes the test volumes of CONFIG moved by their poses into FOLDER, on an anisotropic grid;
SimpleITK moves the same volumes by the numbers in metadata.csv, and both must agree inside the mask. PROGRAM then estimates each moved volume's
pose, and SimpleITK applies the ITK transform that it wrote: the volume must lie better on its origin than before."""
import csv
import glob
import math
import os
import subprocess
import sys

import numpy as np
import SimpleITK as sitk

MOST = 12  # volumes
GRID = ["pose.size=[64,80,48]", "pose.spacing=[3.0,2.4,4.0]", "pose.evaluation_variants=1"]


def motion(row):
    """The row's RAS motion as ITK's (LPS): S = diag(-1, -1, 1) on both sides."""
    rx, ry, rz = (math.radians(float(row[k])) for k in ("rx", "ry", "rz"))
    t, c = ([float(row[k + axis]) for axis in "xyz"] for k in ("t", "c"))
    transform = sitk.Euler3DTransform()
    transform.SetComputeZYX(True)
    transform.SetCenter((-c[0], -c[1], c[2]))
    transform.SetRotation(-rx, -ry, rz)
    transform.SetTranslation((-t[0], -t[1], t[2]))
    return transform


def array(image):
    return sitk.GetArrayFromImage(image).astype(np.float64)


def correlation(a, b):
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def inside(source, moved, transform):
    """Voxels of `moved` that come from inside the source, a voxel away from its border."""
    ones = sitk.Image(source.GetSize(), sitk.sitkFloat32)
    ones.CopyInformation(source)
    weights = sitk.Resample(ones + 1, moved, transform.GetInverse(), sitk.sitkLinear, 0.0)
    return sitk.GetArrayFromImage(weights) > 0.999


def main():
    program, config, checkpoint, folder, *more = sys.argv[1:]
    source_folder = next(word.split("=", 1)[1] for word in more if word.startswith("data.source="))
    # normalised by a line, so that intensities can be compared
    linear = [*more, "data.intensity=minmax", f"data.shards={folder}/shards/moved.h5"]
    subprocess.run([program, "prepare", config, *linear], check=True)
    subprocess.run([program, "materialise", config, folder, "--split", "test", *linear, *GRID], check=True)
    rows = list(csv.DictReader(open(os.path.join(folder, "metadata.csv"))))[:MOST]
    files = [os.path.join(folder, row["file"]) for row in rows]
    estimates = os.path.join(folder, "estimates")
    subprocess.run([program, "predict", config, "--checkpoint", checkpoint, "--output", estimates, *files, *more], check=True)
    worst, gains = 0.0, []
    for row, file in zip(rows, files):
        source = sitk.ReadImage(glob.glob(os.path.join(source_folder, "**", row["case"] + ".nii*"), recursive=True)[0], sitk.sitkFloat32)
        moved, transform = sitk.ReadImage(file, sitk.sitkFloat32), motion(row)
        theirs = array(sitk.Resample(source, moved, transform.GetInverse(), sitk.sitkLinear, 0.0))
        ours, shown = array(moved), array(moved) != 0
        shown &= inside(source, moved, transform)
        scale, shift = np.polyfit(theirs[shown], ours[shown], 1)
        difference = np.abs(scale * theirs + shift - ours)[shown].max() / np.ptp(ours[shown])
        worst = max(worst, difference)
        stem = os.path.join(estimates, os.path.basename(file).split(".")[0])
        back = sitk.Resample(moved, source, sitk.ReadTransform(stem + "_forward.tfm"), sitk.sitkLinear, 0.0)
        left = sitk.Resample(moved, source, sitk.Transform(), sitk.sitkLinear, 0.0)
        gains.append((correlation(array(left), array(source)), correlation(array(back), array(source))))
        print(f"{row['case']}: {shown.sum()} voxels agree within {difference:.1e} of the range; correlation with the "
              f"origin {gains[-1][0]:.3f}, moved back by the estimate {gains[-1][1]:.3f}")
    better = sum(after > before for before, after in gains)
    print(f"largest difference {worst:.1e}; {better} of {len(gains)} lie better after moving back, mean correlation "
          f"{np.mean([g[0] for g in gains]):.3f} before, {np.mean([g[1] for g in gains]):.3f} after")
    return 0 if worst < 2e-3 and better == len(gains) else 1


if __name__ == "__main__":
    sys.exit(main())
