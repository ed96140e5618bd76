"""What the devices of a compiled program exchange."""

import math
import re


def exchanged_sizes(text):
    """Return the sizes of what a compiled program sends to neighbors, and gathers or adds up."""
    operation = r"= (.*?) (all-gather|all-reduce|all-to-all|collective-permute)(?:-start)?\("
    permuted, gathered = [], []
    for types, kind in re.findall(operation, text):
        for shape in re.findall(r"(?:f32|bf16)\[([\d,]+)\]", types):
            sizes = permuted if kind == "collective-permute" else gathered
            sizes.append(math.prod(int(number) for number in shape.split(",")))
    return permuted, gathered
