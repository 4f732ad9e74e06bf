"""Checks an IBAN, as a Lambda function does: an event in, a document out. Nothing here is dormouse's."""

import logging
import os
import re

logger = logging.getLogger()
logger.setLevel(logging.INFO)

LENGTHS = {"AT": 20, "BE": 16, "CH": 21, "DE": 22, "ES": 24, "FR": 27, "GB": 22, "IT": 27, "NL": 18}


def fault(iban):
    """What is wrong with it, or None (ISO 13616: the number modulo 97 is 1)."""
    if not re.fullmatch(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{1,30}", iban):
        return "not of the form of an IBAN"
    length = LENGTHS.get(iban[:2])
    if length is None:
        return f"the country {iban[:2]} is not known here"
    if len(iban) != length:
        return f"{len(iban)} characters, {iban[:2]} has {length}"
    number = "".join(str(int(sign, 36)) for sign in iban[4:] + iban[:4])
    return None if int(number) % 97 == 1 else "the check digits do not fit"


def lambda_handler(event, context):
    iban = event["iban"].replace(" ", "").upper()
    wrong = fault(iban)
    logger.info("%s of %s: %s", context.function_name, os.environ.get("STAGE", "nowhere"), wrong or "good")
    return {"iban": iban, "good": wrong is None, **({"fault": wrong} if wrong else {})}
