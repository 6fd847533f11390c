"""Counts the words of `title` and `body`. An example of a program for `exec`: see docs/exec.md.

Each line on stdin is one item. An empty line ends a batch: answer every item of the batch, then print an empty line.
"""

import json
import sys


def compute(item):
    """Returns the outputs for the inputs of an item. Inputs and outputs are in DynamoDB JSON."""
    words = 0
    for value in item.values():
        if "S" not in value:
            raise ValueError("not-a-text")
        words += len(value["S"].split())
    return {"words": {"N": str(words)}}


for line in sys.stdin:
    if not line.strip():
        print(flush=True)
        continue
    asked = json.loads(line)
    try:
        answer = {"id": asked["id"], "outputs": compute(asked["item"])}
    except ValueError as error:
        answer = {"id": asked["id"], "error": str(error)}
    print(json.dumps(answer))
