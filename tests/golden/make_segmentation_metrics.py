"""Makes segmentation_metrics.safetensors: label maps and overlapping masks of a truth and a prediction, and how MONAI
scores them (compute_dice, compute_iou, compute_surface_dice with use_subvoxels, compute_hausdorff_distance): see
README.md.
    python3 make_segmentation_metrics.py"""
import os
import warnings

import monai
import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_iou, compute_surface_dice

import philox
import tensor_file

warnings.simplefilter("ignore")
EXTENTS, CLASSES, STRUCTURES = (14, 20, 17), 7, 11
SPACINGS = ((1.0, 1.0, 1.0), (2.5, 0.8, 1.2))
TOLERANCES = (1.0, 1.5)
PLACE = np.stack(np.meshgrid(*[np.arange(e) for e in EXTENTS], indexing="ij")).astype(float)


def ball(centre, radius):
    return sum(((PLACE[a] - centre[a]) / radius[a]) ** 2 for a in range(3)) < 1


def label_maps():
    """1 and 2 nested, 2 touching the border; 3 a specked piece; 4 missed; 5 found where there is none; 6 in neither."""
    truth, predicted = np.zeros(EXTENTS, np.uint8), np.zeros(EXTENTS, np.uint8)
    noise = philox.uniform_range(20, philox.RANDOM_TEST, 9100, 0, truth.size, 0, 1).reshape(EXTENTS)
    for map_, shift in ((truth, 0), (predicted, 1)):
        map_[ball((6 + shift, 9, 8 - shift), (6, 8, 7))] = 1
        map_[ball((5, 8 + shift, 14), (4, 5, 5))] = 2
        map_[10:13, 2 + shift:6, 3:7] = 3
    predicted[(predicted == 3) & (noise < 0.3)] = 0
    truth[1:3, 16:19, 1:4] = 4
    predicted[12, 15:19, 12] = 5
    return truth, predicted


def masks():
    """Structures that overlap; 3 missed, 4 found where there is none, 5 in neither, 7 the whole volume."""
    truth, predicted = np.zeros((STRUCTURES, *EXTENTS), bool), np.zeros((STRUCTURES, *EXTENTS), bool)
    for c in range(STRUCTURES):
        truth[c] = ball((3 + c % 8, 4 + c, 14 - c), (3 + c % 3, 4, 2 + c % 4))
        predicted[c] = ball((3.4 + c % 8, 4 + c, 13.2 - c), (2.7 + c % 3, 4.2, 2 + c % 4))
    predicted[3] = truth[4] = truth[5] = predicted[5] = False
    truth[7] = predicted[7] = True
    predicted[7, 0, 0, 0] = False
    return truth, predicted


def pack(masks_):
    """[d][ceil(K / 8)][h][w], structure c in bit c % 8 of plane c / 8."""
    planes = np.zeros((EXTENTS[0], (STRUCTURES + 7) // 8, *EXTENTS[1:]), np.uint8)
    for c in range(STRUCTURES):
        planes[:, c // 8] |= masks_[c].astype(np.uint8) << (c % 8)
    return planes


def counts(truth, predicted):
    return np.array([[(t & p).sum(), (~t & p).sum(), (t & ~p).sum()] for t, p in zip(truth, predicted)], np.int32)


def scores(name, truth, predicted):
    """Of boolean arrays [classes, d, h, w]."""
    y, guess = torch.tensor(truth[None]).float(), torch.tensor(predicted[None]).float()
    result = {f"{name}_counts": counts(truth, predicted)}
    for rule, ignore in (("monai", True), ("monai_all", False)):
        result[f"{name}_dice_{rule}"] = compute_dice(guess, y, ignore_empty=ignore)[0].double().numpy()
        result[f"{name}_iou_{rule}"] = compute_iou(guess, y, ignore_empty=ignore)[0].double().numpy()
    for i, spacing in enumerate(SPACINGS):
        result[f"{name}_surface_dice_{i}"] = np.stack([compute_surface_dice(
            guess, y, [tolerance] * len(truth), include_background=True, spacing=spacing,
            use_subvoxels=True)[0].double().numpy() for tolerance in TOLERANCES])
    return result


def moved_boxes():
    """Boxes and the same boxes moved along an axis: both definitions of a surface then give the same largest
    distance."""
    truth, predicted, expected = [], [], []
    for c, (axis, by) in enumerate(((0, 3), (1, 5), (2, 4))):
        box = np.zeros(EXTENTS, bool)
        box[3:8, 4 + c:11, 5:11] = True
        truth.append(box)
        predicted.append(np.roll(box, by, axis))
        one = [torch.tensor(m[None, None]).float() for m in (predicted[-1], box)]
        expected.append([float(compute_hausdorff_distance(*one, include_background=True, spacing=s)[0, 0])
                         for s in SPACINGS])
    return (np.array(truth).astype(np.uint8), np.array(predicted).astype(np.uint8), np.array(expected))


def main():
    labels, guess = label_maps()
    truth, predicted = masks()
    tensors = {"labels_truth": labels, "labels_predicted": guess, "bits_truth": pack(truth),
               "bits_predicted": pack(predicted), "tolerances": np.array(TOLERANCES)}
    for i, spacing in enumerate(SPACINGS):
        tensors[f"spacing_{i}"] = np.array(spacing)
    one_hot = [np.stack([m == c for c in range(CLASSES)]) for m in (labels, guess)]
    tensors.update(scores("labels", *one_hot))
    tensors.update(scores("bits", truth, predicted))
    tensors["boxes_truth"], tensors["boxes_predicted"], tensors["boxes_hausdorff"] = moved_boxes()
    for name, value in tensors.items():
        if value.dtype != np.uint8:
            print(name, value.tolist())
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "segmentation_metrics.safetensors")
    tensor_file.write(path, tensors, {"monai": monai.__version__, "torch": torch.__version__})


if __name__ == "__main__":
    main()
