"""Frozen networks that turn faces into features."""
