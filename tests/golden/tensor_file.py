"""Writes the golden files: safetensors (8-byte little-endian header length, JSON header, raw data)."""
import json
import os
import struct

import numpy as np

TYPES = {"float32": "F32", "float64": "F64", "uint8": "U8", "int32": "I32"}


def write(path, tensors, metadata):
    """tensors: name -> array, stored in the order given; metadata: name -> string."""
    header, offset, blocks = {"__metadata__": {k: str(v) for k, v in metadata.items()}}, 0, []
    for name, value in tensors.items():
        value = np.asarray(value, order="C")
        block = value.astype(value.dtype.newbyteorder("<")).tobytes()
        header[name] = {"dtype": TYPES[value.dtype.name], "shape": list(value.shape),
                        "data_offsets": [offset, offset + len(block)]}
        blocks.append(block)
        offset += len(block)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blocks))
    print(f"{os.path.basename(path)}: {len(tensors)} tensors, {8 + len(text) + offset} bytes")
