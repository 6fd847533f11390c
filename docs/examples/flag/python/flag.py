"""The cutover flag of backfill, as an application obeys it. docs/flag.md says why each rule is what it is.

Only the standard library; items and values are DynamoDB's own ({"S": "x"}), as boto3's low-level client has them:

    flags = CachedFlag(lambda: dynamodb.get_item(
        TableName="my-flags", Key={"id": {"S": "rename-email"}}, ConsistentRead=True).get("Item"))

    item = dynamodb.get_item(TableName="shop", Key=key)["Item"]
    email = read(flags.current(), item["pk"], item, "email", "contact_email")

    dynamodb.update_item(TableName="shop", Key=key, **write(flags.current(), "email", "contact_email", {"S": "…"}))
    dynamodb.update_item(TableName="shop", Key=key, **remove("email", "contact_email"))
"""

import base64
import hashlib
import threading
import time
from dataclasses import dataclass
from decimal import Context, Decimal

SCHEMA_VERSION = 1


class FlagUnknown(Exception):
    """What the flag says is not known: do not read or write the attributes that move."""


@dataclass(frozen=True)
class Flag:
    write: str = "old"  # old, both, new
    read: str = "old"  # old, new
    read_percent: int = 0
    old_stale: bool = False
    max_cache_seconds: int = 1


def parse(item):
    """The flag of its item; without an item, the migration has not begun. Anything unknown is refused."""
    if not item:
        return Flag()
    try:
        if int(item["schema_version"]["N"]) != SCHEMA_VERSION or int(item["version"]["N"]) < 1:
            raise FlagUnknown("the flag has another schema_version")
        flag = Flag(
            write=item["write"]["S"],
            read=item["read"]["S"],
            read_percent=int(item["read_percent"]["N"]),
            old_stale=item["old_stale"]["BOOL"],
            max_cache_seconds=int(item["max_cache_seconds"]["N"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FlagUnknown("this is not a flag") from error
    possible = (
        flag.write in ("old", "both", "new")
        and flag.read in ("old", "new")
        and 0 <= flag.read_percent <= 100
        and (flag.read_percent == 0) == (flag.read == "old")
        and not (flag.read == "new" and flag.write == "old")
        and not (flag.write == "new" and flag.read_percent < 100)
        and flag.max_cache_seconds >= 1
    )
    if not possible:
        raise FlagUnknown("the flag says what it cannot say")
    return flag


def bucket(key):
    """The part of a hundred, 0 to 99, of a partition key such as {"S": "CUSTOMER#1"}."""
    ((kind, value),) = key.items()
    if kind == "S":
        data = value.encode("utf-8")
    elif kind == "N":
        data = _plain(value).encode("ascii")
    else:  # B: boto3 has bytes, JSON has base64
        data = base64.b64decode(value) if isinstance(value, str) else bytes(value)
    digest = hashlib.sha256(kind.encode("ascii") + data).digest()
    return int.from_bytes(digest[:8], "big") % 100


def _plain(number):
    """15 for 1.50E1, -0.5 for -0.50, 0 for -0: no exponent, no zero without a meaning."""
    text = format(Context(prec=200).create_decimal(number), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if Decimal(text) == 0 else text


def read(flag, key, item, old, new):
    """The value to read of an item, or None. `key` is its partition key."""
    if flag.read == "old" or bucket(key) >= flag.read_percent:
        return item.get(old)
    if new in item:
        return item[new]
    # Items that backfill has not come to yet have only the old value. Once values were written to the new attribute
    # alone, an old one may be stale: then there is no falling back.
    if flag.write == "both" and not flag.old_stale:
        return item.get(old)
    return None


def write(flag, old, new, value):
    """UpdateItem parameters that write a value: both attributes in one write, or neither."""
    names = {"old": {"#old": old}, "both": {"#old": old, "#new": new}, "new": {"#new": new}}[flag.write]
    return {
        "UpdateExpression": "SET " + ", ".join(f"{name} = :value" for name in names),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": {":value": value},
    }


def remove(old, new):
    """UpdateItem parameters that delete a value: both attributes, whatever the flag says."""
    return {"UpdateExpression": "REMOVE #old, #new", "ExpressionAttributeNames": {"#old": old, "#new": new}}


class CachedFlag:
    """The flag, obeyed for at most `max_cache_seconds` after the request that read it was sent.

    It is read again after a third of that time. If that fails, it is obeyed for another third, and then
    nothing is: FlagUnknown. The last third belongs to the request that is made under it, its retries
    included: give the client of the data table a time limit of a third of `max_cache_seconds`.
    """

    def __init__(self, fetch, clock=time.monotonic):
        self._fetch, self._clock = fetch, clock
        self._lock = threading.Lock()
        self._flag, self._sent = None, 0.0

    def current(self):
        with self._lock:
            third = self._flag.max_cache_seconds / 3 if self._flag else 0
            if self._flag and self._clock() - self._sent < third:
                return self._flag
            sent = self._clock()
            try:
                flag = parse(self._fetch())
            except Exception as error:
                if self._flag and self._clock() - self._sent < 2 * third:
                    return self._flag
                raise FlagUnknown("the flag could not be read in time") from error
            # A reply that took too long says what was so once.
            if self._clock() - sent >= 2 * flag.max_cache_seconds / 3:
                raise FlagUnknown("reading the flag took too long")
            self._flag, self._sent = flag, sent
            return flag
