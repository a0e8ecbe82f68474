"""Forecasters that prove what synthetic traffic is worth."""
