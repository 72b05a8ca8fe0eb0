"""Makes metrics.safetensors: label maps, a displacement and their metrics, by scipy, numpy and DeepMind's
surface-distance: see README.md.
    python3 make_metrics.py"""
import itertools
import os
import warnings

import numpy as np
import scipy
import scipy.ndimage

np.Inf = np.inf  # surface-distance 0.1 is older than numpy 2
warnings.simplefilter("ignore")
import surface_distance  # noqa: E402
from surface_distance import lookup_tables  # noqa: E402

import philox  # noqa: E402
import tensor_file  # noqa: E402

EXTENTS, CLASSES = (20, 24, 18), 9
SPACINGS = ((1.0, 1.0, 1.0), (1.2, 0.8, 2.5))
PLACE = np.stack(np.meshgrid(*[np.arange(e) for e in EXTENTS], indexing="ij")).astype(float)


def head(shift):
    """Labels 1-4 nested, touching the border; 5 in the fixed map only, 6 in the moving one only, 7 a speck, 8 two
    pieces joined at an edge."""
    d, h, w = PLACE + np.array(shift).reshape(3, 1, 1, 1)
    radius = ((d - 9.5) / 11) ** 2 + ((h - 12) / 10.5) ** 2 + ((w - 8) / 9) ** 2
    labels = sum((radius < edge).astype(np.uint8) for edge in (1.0, 0.55, 0.25, 0.08))
    labels[12:15, 3:6, 5:8] = 8
    labels[15:17, 6:9, 8:11] = 8
    labels[(5, 3)[shift[0] > 0], 4, 9] = 7
    labels[0:3, 20:23, 1] = 6 if shift[0] > 0 else 5
    return labels.astype(np.uint8)


def displacement():
    """Smooth, with folds in the middle; some of it leaves the volume."""
    d, h, w = PLACE
    centre = np.exp(-((d - 10) ** 2 + (h - 12) ** 2 + (w - 9) ** 2) / 18)
    u = np.stack([2.3 * np.sin(0.5 * h) + 5 * centre * np.sin(1.1 * d),
                  1.7 * np.cos(0.4 * w + 0.2 * d) - 4 * centre * np.cos(0.9 * h),
                  -1.9 * np.sin(0.6 * d - 0.3 * h) + 3 * centre * np.sin(1.3 * w)])
    noise = philox.uniform_range(20, philox.RANDOM_TEST, 9000, 0, u.size, -0.4, 0.4)
    return (u + noise.reshape(u.shape)).astype(np.float32)


def dice(fixed, moving, warped, label):
    if not (fixed == label).any() or not (moving == label).any():
        return np.nan
    a, b = fixed == label, warped == label
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def surface(a, b, label, spacing):
    """hd95, largest distance, mean over both surfaces by area."""
    found = surface_distance.compute_surface_distances(a == label, b == label, spacing)
    parts = [(found["distances_gt_to_pred"], found["surfel_areas_gt"]),
             (found["distances_pred_to_gt"], found["surfel_areas_pred"])]
    if not sum(len(d) for d, _ in parts):
        return [np.nan] * 3
    if not all(len(d) for d, _ in parts):
        return [np.inf] * 3
    return [surface_distance.compute_robust_hausdorff(found, 95.0), max(d.max() for d, _ in parts),
            sum((d * s).sum() for d, s in parts) / sum(s.sum() for _, s in parts)]


def surfel_areas(spacing):
    """The library's table in the order of surfel.h: its bit 7 - n is our bit n."""
    table = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
    return np.array([table[int(f"{code:08b}"[::-1], 2)] for code in range(256)], np.float64)


def jacobian(u):
    transform = u.astype(np.float64) + PLACE
    rows = np.stack([np.stack(np.gradient(transform[c])) for c in range(3)], axis=1)
    return np.linalg.det(np.moveaxis(rows, (0, 1), (-2, -1)))


def deviation_l2r(u):
    inner = jacobian(u)[2:-2, 2:-2, 2:-2]
    return np.log(np.clip(inner + 3, 1e-9, 1e9)).std()


def ten_determinants(u):
    """IJCV 2024 (Liu et al.): eight one-sided differences and the two middle tetrahedra, inside the border."""
    transform = u.astype(np.float64) + PLACE

    def at(*offset):
        return transform[(slice(None), *(slice(1 + o, e - 1 + o) for o, e in zip(offset, EXTENTS)))]

    def determinant(rows):
        return np.linalg.det(np.moveaxis(np.stack(rows), (0, 1), (-2, -1)))
    unit = np.eye(3, dtype=int)
    results = []
    for signs in itertools.product((1, -1), repeat=3):
        results.append(determinant([s * (at(*(s * unit[axis])) - at(0, 0, 0))
                                    for axis, s in enumerate(signs)]))
    for rows in (((-1, -1, 0), (-1, 0, -1), (0, -1, -1)), ((1, 1, 0), (0, 1, 1), (1, 0, 1))):
        results.append(determinant([at(*row) - at(0, 0, 0) for row in rows]))
    return np.stack(results)


def diffeomorphism(u, mask):
    determinants, inner = ten_determinants(u), mask[1:-1, 1:-1, 1:-1] > 0
    volume = (np.maximum(-determinants, 0) / 6 / 2).sum(axis=0)
    return [100 * volume[inner].mean(), 100 * (determinants <= 0).any(axis=0)[inner].mean()]


def main():
    fixed, moving, u = head((0, 0, 0)), head((1.2, -1.4, 0.8)), displacement()
    warped = scipy.ndimage.map_coordinates(moving, PLACE + u, order=0)
    everywhere = np.ones(EXTENTS, np.uint8)
    tensors = {"fixed": fixed, "moving": moving, "displacement": u, "warped": warped,
               "dice": np.array([dice(fixed, moving, warped, c) for c in range(CLASSES)])}
    for i, spacing in enumerate(SPACINGS):
        tensors[f"spacing_{i}"] = np.array(spacing)
        tensors[f"surface_{i}"] = np.array([surface(fixed, warped, c, spacing) for c in range(CLASSES)])
        tensors[f"surfel_areas_{i}"] = surfel_areas(spacing)
    determinant = jacobian(u)
    tensors["jacobian"] = determinant.astype(np.float32)
    tensors["regularity"] = np.array([100 * (determinant <= 0).mean(), deviation_l2r(u),
                                      *diffeomorphism(u, everywhere), *diffeomorphism(u, moving)])
    for name in ("dice", "surface_0", "surface_1", "regularity"):
        print(name, tensors[name])
    note = "regularity: fold percent, SDlogJ (L2R), NDV and NDP everywhere, NDV and NDP where moving > 0"
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "metrics.safetensors")
    tensor_file.write(path, tensors, {"note": note, "numpy": np.__version__, "scipy": scipy.__version__,
                                      "surface-distance": "0.1"})


if __name__ == "__main__":
    main()
