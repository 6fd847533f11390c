"""An application that uses the code of `backfill shim` while a migration runs.

    python3 live_application.py ENDPOINT TABLE PARTITION_KEYS

Each thread has its own keys and its own cache of the flag. It writes, removes, puts and reads values, and compares each read with
its own last write. It ends when stdin is closed, and prints one JSON document: the values, the number of each operation, and each
wrong read.
"""

import http.client
import json
import random
import sys
import threading
from urllib.parse import urlsplit

import rename_shim as shim

ENDPOINT, TABLE, KEYS = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
# A third of the `max_cache_seconds` in the plan.
TIME_LIMIT = 1.0
THREADS = 3


class Client:
    """Sends requests. It never retries, so a request ends within the time limit."""

    def __init__(self):
        address = urlsplit(ENDPOINT)
        self.connection = http.client.HTTPConnection(address.hostname, address.port, timeout=TIME_LIMIT)

    def send(self, operation, **body):
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"DynamoDB_20120810.{operation}",
            "X-Amz-Date": "20250101T000000Z",
            "Authorization": "AWS4-HMAC-SHA256 Credential=local/20250101/us-east-1/dynamodb/aws4_request, "
            "SignedHeaders=host;x-amz-date;x-amz-target, Signature=00",
        }
        try:
            self.connection.request("POST", "/", json.dumps(body), headers)
            reply = self.connection.getresponse()
            text = reply.read()
        except BaseException:
            # The next request opens a new connection.
            self.connection.close()
            raise
        if reply.status != 200:
            raise RuntimeError(f"{operation}: {reply.status} {text!r}")
        return json.loads(text)


class Worker(threading.Thread):
    def __init__(self, number, keys):
        super().__init__()
        self.random, self.keys, self.client = random.Random(number), keys, Client()
        self.flags = shim.CachedFlag(self.fetch)
        self.values, self.counts, self.wrong = {}, {}, []
        self.serial = 0

    def fetch(self):
        key = {"id": {"S": shim.FLAG_ID}}
        return self.client.send("GetItem", TableName=shim.FLAG_TABLE, Key=key, ConsistentRead=True).get("Item")

    def step(self, pk):
        key = {"pk": {"S": pk}, "sk": {"S": "x"}}
        kind = self.random.choice(["read", "read", "write", "write", "remove", "put"])
        # One state of the flag for each operation.
        flag = self.flags.current()
        if kind == "read":
            item = self.client.send("GetItem", TableName=TABLE, Key=key, ConsistentRead=True).get("Item", {})
            found = shim.read_new(item, flag, key)
            expected = self.values.get(pk, found)
            self.values[pk] = found
            if found != expected:
                self.wrong.append(f"{pk}: {found} instead of {expected}, at {flag}")
        elif kind == "remove":
            self.client.send("UpdateItem", TableName=TABLE, Key=key, **shim.removes_for_new())
            self.values[pk] = None
        else:
            self.serial += 1
            value = {"S": f"{pk} {self.name} {self.serial}"}
            if kind == "write":
                self.client.send("UpdateItem", TableName=TABLE, Key=key, **shim.writes_for_new(value, flag))
            else:
                item = {**key, **shim.attributes_for_new(value, flag)}
                self.client.send("PutItem", TableName=TABLE, Item=item)
            self.values[pk] = value
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def run(self):
        while not ended.is_set():
            pk = self.random.choice(self.keys)
            try:
                self.step(pk)
            except (shim.FlagUnknown, OSError, http.client.HTTPException):
                # The write may have arrived or not. The next read shows which.
                self.values.pop(pk, None)
                self.counts["lost"] = self.counts.get("lost", 0) + 1
            except Exception as error:
                self.wrong.append(f"{pk}: {error!r}")
                return
            ended.wait(0.005)


ended = threading.Event()
workers = [Worker(number, KEYS[number::THREADS]) for number in range(THREADS)]
for worker in workers:
    worker.start()
print("started", flush=True)
sys.stdin.read()
ended.set()
values, counts, wrong = {}, {}, []
for worker in workers:
    worker.join()
    values.update(worker.values)
    wrong += worker.wrong
    for kind, count in worker.counts.items():
        counts[kind] = counts.get(kind, 0) + count
print(json.dumps({"values": values, "counts": counts, "wrong": wrong}))
