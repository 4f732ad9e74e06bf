"""A small data frame, grouped and summed: a call that does little more than use pandas."""
import pandas


def handler(event, context):
    return pandas.DataFrame(event).groupby("b").sum().to_dict()


def before_template():
    for _ in range(20):  # Until the interpreter has rewritten what runs often.
        handler({"a": [1.0, 2.0], "b": ["x", "y"]}, None)
