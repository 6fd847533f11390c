"""Checks flag.py with the published vectors: python3 check.py ../../../flag-vectors.json"""

import json
import sys

from flag import CachedFlag, FlagUnknown, bucket, parse, read, remove, write

vectors = json.load(open(sys.argv[1], encoding="utf-8"))
flags = {name: parse(item) for name, item in vectors["flags"].items()}
count = len(flags)


def same(found, expected, case):
    global count
    assert found == expected, f"{case}: found {found}"
    count += 1


def refused(call):
    try:
        call()
    except FlagUnknown:
        return True
    return False


for case in vectors["hash"]:
    same(bucket(case["key"]), case["bucket"], case)
for case in vectors["refused"]:
    same(refused(lambda: parse(case["item"])), True, case["name"])
for case in vectors["read"]:
    same(read(flags[case["flag"]], case["key"], case["item"], "old", "new"), case["value"], case)
for case in vectors["write"]:
    expected = {
        "UpdateExpression": case["update"],
        "ExpressionAttributeNames": case["names"],
        "ExpressionAttributeValues": case["values"],
    }
    same(write(flags[case["flag"]], "old", "new", case["value"]), expected, case)
for case in vectors["delete"]:
    expected = {"UpdateExpression": case["update"], "ExpressionAttributeNames": case["names"]}
    same(remove("old", "new"), expected, case)

# The cache, with a simulated clock. The flag is valid for 60 seconds.
for case in vectors["cache"]:
    now, fetched = 0, 0
    took, failing = 0, False

    def fetch():
        global now, fetched
        fetched, now = fetched + 1, now + took
        if failing:
            raise ConnectionError
        return vectors["flags"]["both"]

    cached = CachedFlag(fetch, lambda: now)
    for step in case["steps"]:
        now, took, failing = step["at"], step.get("takes", 0), step.get("fails", False)
        before = fetched
        same((refused(cached.current), fetched - before), (step["unknown"], step["reads"]), (case["name"], step))
same(parse(None).write, "old", "no item")

print(f"{count} cases")
