

_MOVE_{{constant}} = _Move({{move}})


def read_{{stem}}(item, flag, key=None):
    """Returns the value of `{{old}}` or `{{new}}`, as the flag requires, or None.

    `key` is the item's key. Without it, the item must contain its partition key.
    """
    return _read(_MOVE_{{constant}}, flag, item if key is None else key, {{container}})


def writes_for_{{stem}}(value, flag):
    """Returns UpdateItem parameters that write a value to `{{old}}`, `{{new}}` or both, as the flag requires."""
    return _writes(_MOVE_{{constant}}, flag, value)


def attributes_for_{{stem}}(value, flag):
    """Returns what a PutItem must contain: `{{old}}`, `{{new}}` or both, as the flag requires."""
    return _attributes(_MOVE_{{constant}}, flag, value)


def removes_for_{{stem}}():
    """Returns UpdateItem parameters that delete a value. They always delete both attributes."""
    return _removes(_MOVE_{{constant}})
