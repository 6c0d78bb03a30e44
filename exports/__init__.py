"""Exports: a trained agent as a folder that plays without the suite, without Ray, and with ONNX without torch."""
