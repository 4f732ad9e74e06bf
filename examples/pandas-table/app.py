"""Describes a table: a CSV file goes in, what each of its columns holds comes out."""

import base64
import io

import pandas


def described(values):
    told = {"name": str(values.name), "missing": int(values.isna().sum())}
    present = values.dropna()
    if present.empty:
        return {**told, "kind": "empty"}
    if pandas.api.types.is_bool_dtype(present) or not pandas.api.types.is_numeric_dtype(present):
        often = present.astype(str).value_counts()
        # Of several that are equally often, the one that comes first in the file.
        return {**told, "kind": "text", "different": len(often), "most_often": often.index[0]}
    return {**told, "kind": "number", "min": float(present.min()), "mean": float(present.mean()),
            "max": float(present.max())}


def body_of(event):
    """Bytes of a call whose body is not JSON: it comes as the event of a function URL."""
    if not isinstance(event, dict) or "isBase64Encoded" not in event:
        raise ValueError("send a CSV file, with Content-Type: text/csv")
    return base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()


def handler(event, context):
    table = pandas.read_csv(io.BytesIO(body_of(event)))
    return {"rows": len(table), "columns": [described(table[name]) for name in table]}


def rehearse_template():
    """What pandas does the first time only is done before instances are forked, and shared by them."""
    handler({"body": "number,text\n1,a\n2,b\n,a\n", "isBase64Encoded": False}, None)
