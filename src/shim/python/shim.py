"""Reads and writes the attributes that the migration {{migration}} moves in the table {{table}}.

`backfill shim` generated this code from the plan. Do not edit it: if the plan changes, generate it again. docs/flag.md of
backfill explains the rules that the code obeys.

It uses only the standard library. Items and values are in DynamoDB's own format ({"S": "x"}), as in boto3's low-level client:

    {{flag_key}}

    flag = flags.current()
    item = dynamodb.get_item(TableName="{{table}}", Key=key)["Item"]
    value = read_{{example}}(item, flag, key)

    dynamodb.update_item(TableName="{{table}}", Key=key, **writes_for_{{example}}(value, flags.current()))
    dynamodb.update_item(TableName="{{table}}", Key=key, **removes_for_{{example}}())

Call `flags.current()` again before each request, and give the request, with its retries, a time limit of a third of the flag's
`max_cache_seconds`.
{{notes}}"""

{{flag}}


{{cache}}


# The names in the plan.
{{constants}}


class _Move(NamedTuple):
    """An attribute that moves."""

    old: str
    new: str
    number: str = ""  # makes the placeholders of several moves distinct
    prefix: str = ""  # the path of the map that contains both attributes
    prefix_names: dict = {}

    def target(self, name):
        """Returns the path of an attribute in an expression, and the names of its placeholders."""
        placeholder = f"#{name}{self.number}"
        return self.prefix + placeholder, {**self.prefix_names, placeholder: getattr(self, name)}


def _read(move, flag, key, container):
    if flag.read == "old" or bucket(key[PARTITION_KEY]) >= flag.read_percent:
        return container.get(move.old)
    if move.new in container:
        return container[move.new]
    # Items that backfill has not processed yet have only the old value. After new-only writes, an old value may be
    # stale, so do not fall back to it.
    if flag.write == "both" and not flag.old_stale:
        return container.get(move.old)
    return None


_WRITTEN = {"old": ("old",), "both": ("old", "new"), "new": ("new",)}


def _writes(move, flag, value):
    paths, names = [], {}
    for name in _WRITTEN[flag.write]:
        path, more = move.target(name)
        paths.append(path)
        names.update(more)
    placeholder = f":value{move.number}"
    return {
        "UpdateExpression": "SET " + ", ".join(f"{path} = {placeholder}" for path in paths),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": {placeholder: value},
    }


def _attributes(move, flag, value):
    return {getattr(move, name): value for name in _WRITTEN[flag.write]}


def _removes(move):
    (old, old_names), (new, new_names) = move.target("old"), move.target("new")
    return {"UpdateExpression": f"REMOVE {old}, {new}", "ExpressionAttributeNames": {**old_names, **new_names}}


def combine(*updates):
    """Joins UpdateItem parameters into those of one request. Each update must have one clause, SET or REMOVE."""
    clauses, names, values = {}, {}, {}
    for update in updates:
        clause, _, actions = update["UpdateExpression"].partition(" ")
        clauses.setdefault(clause, []).append(actions)
        names.update(update.get("ExpressionAttributeNames", {}))
        values.update(update.get("ExpressionAttributeValues", {}))
    expression = " ".join(f"{clause} {', '.join(actions)}" for clause, actions in clauses.items())
    combined = {"UpdateExpression": expression, "ExpressionAttributeNames": names, "ExpressionAttributeValues": values}
    return {name: part for name, part in combined.items() if part}
{{moves}}
