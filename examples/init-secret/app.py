"""Signs what it is sent, with a key that it reads as it is loaded."""

import hashlib
import hmac
import json
import os

# Read once, in the template: the secret is declared `when: init`.
_signing = hmac.new(os.environ["SIGNING_KEY"].encode(), digestmod=hashlib.sha256)


def handler(event, context):
    signature = _signing.copy()
    signature.update(json.dumps(event, sort_keys=True, separators=(",", ":")).encode())
    return {"event": event, "signature": signature.hexdigest()}
