#!/usr/bin/env python3
"""Import of NIfTI files: files per second of medtrain-dist and of nibabel, in turns.

nibabel reads each file into an array of float32. "read" is the same by the program (`bench import`: one file per
thread, timed inside after one file as warm-up, as nibabel is); "prepare" is all of `medtrain-dist prepare`, its start
included, which reads the same files, checks, orients and normalises them and writes shards with checksums. All begin
with the files in the page cache. Prints one JSON object: medians, spread and the ratios. Needs numpy and nibabel.
"""
import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import tempfile
import time

import nibabel
import numpy


def make_files(folder, size, files, distinct, noise):
    """Heads in int16; with noise also the air around them is not 0, as in unprocessed scans."""
    os.makedirs(folder)
    axes = [numpy.linspace(-1, 1, n, dtype=numpy.float32) for n in size]
    x, y, z = numpy.meshgrid(*axes, indexing="ij")
    head = (x**2 / 0.7 + y**2 / 0.85 + z**2 / 0.8) < 1
    for n in range(files):
        path = os.path.join(folder, f"subject{n:04d}.nii.gz")
        if n >= distinct:
            shutil.copy(os.path.join(folder, f"subject{n % distinct:04d}.nii.gz"), path)
            continue
        random = numpy.random.default_rng(n)
        values = (600 + 200 * numpy.sin(5 * x + n) * numpy.cos(4 * y) * numpy.sin(6 * z)) * head
        if noise:
            values = numpy.hypot(values + random.normal(0, 20, size), random.normal(0, 20, size))
        else:
            values = values + random.normal(0, 25, size) * head
        image = nibabel.Nifti1Image(numpy.clip(values, 0, 4000).astype(numpy.int16), numpy.diag([-1.0, 1, 1, 1]))
        nibabel.save(image, path)


def read_one(path):
    return float(nibabel.load(path).get_fdata(dtype=numpy.float32)[0, 0, 0])


def nibabel_seconds(paths, pool):
    start = time.perf_counter()
    list(pool.imap_unordered(read_one, paths)) if pool else [read_one(path) for path in paths]
    return time.perf_counter() - start


def run_program(arguments, words, folder, shards):
    shutil.rmtree(shards, ignore_errors=True)
    os.makedirs(shards)
    config = os.path.join(shards, "import.cfg")
    with open(config, "w") as out:
        out.write(f'data: {{ source = "{os.path.dirname(folder)}"; shards = "{shards}/import.h5"; }};\n')
    environment = dict(os.environ, OMP_NUM_THREADS=str(arguments.threads), OMP_WAIT_POLICY="passive")
    start = time.perf_counter()
    done = subprocess.run([arguments.program, *words, config], env=environment, check=True, capture_output=True, text=True)
    return time.perf_counter() - start, done.stdout


def prepare_seconds(arguments, folder, shards):
    return run_program(arguments, ["prepare"], folder, shards)[0]


def read_seconds(arguments, folder, shards):
    result = json.loads(run_program(arguments, ["bench", "import"], folder, shards)[1].splitlines()[-1])
    if result["files"] != arguments.files or result["threads"] != arguments.threads:
        raise SystemExit(f"bench import: expected {arguments.files} files and {arguments.threads} threads, found {result}")
    return result["seconds"]


def describe(seconds, files):
    rates = sorted(files / s for s in seconds)
    return {"files_per_second": round(statistics.median(rates), 2), "least": round(rates[0], 2), "most": round(rates[-1], 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/medtrain-dist")
    parser.add_argument("--size", type=int, nargs=3, default=[160, 192, 224])
    parser.add_argument("--files", type=int, default=32)
    parser.add_argument("--distinct", type=int, default=4, help="different files among them; the others are copies")
    parser.add_argument("--threads", type=int, default=2, help="of the program")
    parser.add_argument("--processes", type=int, default=1, help="of nibabel")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--masked", action="store_true", help="no noise around the head, as after skull stripping")
    parser.add_argument("--folder", help="where to work (default: a temporary folder)")
    arguments = parser.parse_args()
    work = tempfile.mkdtemp(dir=arguments.folder)
    try:
        folder = os.path.join(work, "volumes", "images")
        make_files(folder, tuple(arguments.size), arguments.files, arguments.distinct, not arguments.masked)
        paths = sorted(os.path.join(folder, name) for name in os.listdir(folder))
        packed = sum(os.path.getsize(path) for path in paths)
        pool = multiprocessing.Pool(arguments.processes) if arguments.processes > 1 else None
        seconds = {"nibabel": [], "read": [], "prepare": []}
        read_one(paths[0])
        for _ in range(arguments.runs):
            seconds["nibabel"].append(nibabel_seconds(paths, pool))
            seconds["read"].append(read_seconds(arguments, folder, os.path.join(work, "shards")))
            seconds["prepare"].append(prepare_seconds(arguments, folder, os.path.join(work, "shards")))
        median = {what: statistics.median(found) for what, found in seconds.items()}
        result = {
            "size": arguments.size, "type": "int16", "files": arguments.files, "runs": arguments.runs,
            "packed_bytes_per_file": packed // arguments.files, "masked": arguments.masked,
            "nibabel_version": nibabel.__version__, "nibabel_processes": arguments.processes,
            "program_threads": arguments.threads,
            **{what: describe(found, arguments.files) for what, found in seconds.items()},
            "ratio": {what: round(median["nibabel"] / median[what], 2) for what in ("read", "prepare")},
        }
        print(json.dumps(result, indent=2))
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
