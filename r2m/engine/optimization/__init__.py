"""Optimisers, schedules of the learning rate, averages of the weights, periods."""
