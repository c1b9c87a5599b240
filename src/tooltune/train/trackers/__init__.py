"""Where metrics go beside `metrics.jsonl`: one file per tracker, behind the protocol `Tracker`."""
