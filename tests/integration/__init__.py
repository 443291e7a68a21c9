"""Runs the tap's wheel with the targets and runners that people use, each as it is published."""
