"""Reads backfill's cutover flag in applications. docs/flag.md explains the rules.

It uses only the standard library. Items and values are in DynamoDB's own format ({"S": "x"}), as in boto3's low-level client:

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
    """The state of the flag is unknown: do not read or write the attributes that move."""


@dataclass(frozen=True)
class Flag:
    write: str = "old"  # old, both, new
    read: str = "old"  # old, new
    read_percent: int = 0
    old_stale: bool = False
    max_cache_seconds: int = 1


def parse(item):
    """Reads the flag from its item. If the item does not exist, the migration has not begun. Refuses unknown values."""
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
        raise FlagUnknown("the flag has an invalid value or combination")
    return flag


def bucket(key):
    """Returns the bucket (0 to 99) of a partition key such as {"S": "CUSTOMER#1"}."""
    ((kind, value),) = key.items()
    if kind == "S":
        data = value.encode("utf-8")
    elif kind == "N":
        data = _plain(value).encode("ascii")
    else:  # B: bytes in boto3, base64 in JSON
        data = base64.b64decode(value) if isinstance(value, str) else bytes(value)
    digest = hashlib.sha256(kind.encode("ascii") + data).digest()
    return int.from_bytes(digest[:8], "big") % 100


def _plain(number):
    """Returns a number without exponent and without redundant zeros: 15 for 1.50E1, -0.5 for -0.50, 0 for -0."""
    text = format(Context(prec=200).create_decimal(number), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if Decimal(text) == 0 else text


def read(flag, key, item, old, new):
    """Returns the item's old or new value, as the flag requires, or None. `key` is the item's partition key."""
    if flag.read == "old" or bucket(key) >= flag.read_percent:
        return item.get(old)
    if new in item:
        return item[new]
    # Items that backfill has not processed yet have only the old value. After new-only writes, an old value may be
    # stale, so do not fall back to it.
    if flag.write == "both" and not flag.old_stale:
        return item.get(old)
    return None


def write(flag, old, new, value):
    """Returns UpdateItem parameters that write a value. If the flag says both, the update writes both attributes."""
    names = {"old": {"#old": old}, "both": {"#old": old, "#new": new}, "new": {"#new": new}}[flag.write]
    return {
        "UpdateExpression": "SET " + ", ".join(f"{name} = :value" for name in names),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": {":value": value},
    }


def remove(old, new):
    """Returns UpdateItem parameters that delete a value. The update always deletes both attributes."""
    return {"UpdateExpression": "REMOVE #old, #new", "ExpressionAttributeNames": {"#old": old, "#new": new}}


class CachedFlag:
    """Caches the flag for at most `max_cache_seconds`. This time begins when the request for the flag is sent.

    After a third of this time, it reads the flag again. If the read fails, it returns the cached flag for another
    third. After that, it raises FlagUnknown. The last third is for the request that obeys the flag and for the
    retries of that request: give the client of the data table a timeout of a third of `max_cache_seconds`.
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
            # A reply that took too long may be out of date.
            if self._clock() - sent >= 2 * flag.max_cache_seconds / 3:
                raise FlagUnknown("reading the flag took too long")
            self._flag, self._sent = flag, sent
            return flag
