"""The MLflow registry: package a trained model, register it, promote it when it is not worse, roll back.

`stage.py` holds the stages; everything heavy is imported when they run.
"""
