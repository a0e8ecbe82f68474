"""Attacks on synthetic traffic and on models, and what they find."""
