"""Recommends the specs of a first search from the data set, the machine and a time budget. Pure."""

from searchd.recommend.numbers import DataFacts, Machine
from searchd.recommend.specs import Recommendation, Start, recommend

__all__ = ["DataFacts", "Machine", "Recommendation", "Start", "recommend"]
