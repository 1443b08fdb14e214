"""Optimizers, which change variables along gradients, and schedules of their learning rates."""
from __future__ import annotations

from tapeflow.optim import schedules
from tapeflow.optim.optimizer import Optimizer
from tapeflow.optim.rules import SGD, Adadelta, Adagrad, Adam, AdamW, Ftrl, RMSprop

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Ftrl", "Optimizer", "RMSprop",
           "schedules"]
