"""Active learning: sample with a committee, label what it is unsure of, retrain, judge, repeat.

`voltase.aseplugin.active_learning.rounds.ActiveLearning` does it all; ``pe-train loop`` calls it.
"""
