"""What a run reports while it trains.

`log` turns the results of updates into records. It writes them to history.jsonl and the terminal (`progress`) and to
dashboards (`trackers`), and has them checked for signs of trouble (`health`).
"""
