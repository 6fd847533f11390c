"""The script that people write first: a parallel scan with 16 threads, and one conditional update_item for each item.

Arguments: the port of the server. It prints the number of items.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

SEGMENTS = 16

table = boto3.resource(
    "dynamodb",
    endpoint_url=f"http://127.0.0.1:{sys.argv[1]}",
    region_name="us-east-1",
    config=Config(max_pool_connections=64),
).Table("shop")


def migrate(segment):
    items, start = 0, {}
    while True:
        page = table.scan(Segment=segment, TotalSegments=SEGMENTS, **start)
        for item in page["Items"]:
            if "email" in item and "contact_email" not in item:
                table.update_item(
                    Key={"pk": item["pk"], "sk": item["sk"]},
                    UpdateExpression="SET contact_email = email",
                    ConditionExpression="attribute_exists(pk) AND attribute_not_exists(contact_email)",
                )
            items += 1
        if "LastEvaluatedKey" not in page:
            return items
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


with ThreadPoolExecutor(SEGMENTS) as threads:
    print(sum(threads.map(migrate, range(SEGMENTS))))
