"""Ultralytics' own trainer, for people who want it: its loop, our data, weights, records and evaluator."""
