"""Recognisers in ONNX files: run by onnxruntime as judges, by torch as surrogates."""
