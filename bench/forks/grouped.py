"""A small data frame, grouped and summed: a call that does little more than use pandas."""
import pandas


def handler(event, context):
    return pandas.DataFrame(event).groupby("b").sum().to_dict()


def rehearse_template():
    handler({"a": [1.0, 2.0], "b": ["x", "y"]}, None)
