"""Prints what the shim of the plan with hostile names contains: names as hexadecimal UTF-8."""

import hostile_shim as shim

flag = shim.Flag(write="both", read="new", read_percent=100, max_cache_seconds=60)
values = {"line_break_tab": "v1", "proto": "v2", "constructor": "v3", "type": "v4"}
update = shim.combine(*(getattr(shim, f"writes_for_{stem}")({"S": value}, flag) for stem, value in values.items()))


def hexadecimal(text):
    return text.encode("utf-8").hex()


print("expression", update["UpdateExpression"])
names = update["ExpressionAttributeNames"]
for placeholder, name in sorted(names.items()):
    print(placeholder, hexadecimal(name))
print("values", ",".join(f"{name}={value['S']}" for name, value in sorted(update["ExpressionAttributeValues"].items())))
print("partition", hexadecimal(shim.PARTITION_KEY))
print("table", hexadecimal(shim.FLAG_TABLE))
for name, value in sorted(shim.FLAG_KEY.items()):
    print("flag", hexadecimal(name), hexadecimal(value["S"]))
old_only = {names[f"#old{n}"]: {"S": f"v{n}"} for n in (1, 2, 3)}
old_only[names["#map4_1"]] = {"M": {names["#map4_2"]: {"L": [{"M": {names["#old4"]: {"S": "v4"}}}]}}}
for n, stem in enumerate(values, 1):
    read = getattr(shim, f"read_{stem}")
    key = {shim.PARTITION_KEY: {"S": "a"}}
    assert read(old_only, flag, key) == {"S": f"v{n}"}
    print("absent", read({}, flag, key) is None)
    put = getattr(shim, f"attributes_for_{stem}")({"S": "x"}, flag)
    assert sorted(put) == sorted([names[f"#old{n}"], names[f"#new{n}"]])
removed = shim.combine(shim.removes_for_type(), shim.removes_for_proto())
print("expression", removed["UpdateExpression"])
assert "ExpressionAttributeValues" not in removed
