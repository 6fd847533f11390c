def _inside(item, steps):
    """Returns the map at this path of the item. If there is none, the map is empty."""
    value = {"M": item}
    for step in steps:
        found = value.get("L", []) if isinstance(step, int) else value.get("M", {})
        try:
            value = found[step]
        except (IndexError, KeyError):
            return {}
    return value.get("M", {})
