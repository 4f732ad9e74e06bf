"""A handler as AWS Lambda runs it, unchanged: it reads an order and answers with its price."""

import json
import logging
from decimal import Decimal

logger = logging.getLogger()
logger.setLevel(logging.INFO)

PRICES = {"tea": Decimal("2.50"), "coffee": Decimal("3.20"), "cake": Decimal("4.80")}


class UnknownItem(Exception):
    pass


def lambda_handler(event, context):
    logger.info("order %s: %s", context.aws_request_id, json.dumps(event))
    total = Decimal(0)
    for line in event["lines"]:
        if line["item"] not in PRICES:
            raise UnknownItem(f"we do not sell {line['item']}")
        total += PRICES[line["item"]] * line.get("count", 1)
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps({"total": str(total), "function": context.function_name}),
    }
