"""What a run reports while it trains.

`log` turns the results of updates into records. It sends them to history.jsonl and the terminal (`progress`) and to
experiment trackers (`trackers`), and has them checked for signs of trouble (`health`).
"""
