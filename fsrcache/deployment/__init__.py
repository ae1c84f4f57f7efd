"""A trained model as a folder that other programs run: weights, an ONNX graph, a model card, a web page."""
