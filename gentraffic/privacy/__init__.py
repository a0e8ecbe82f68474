"""Differential privacy when fitting (`dp`) and the audit of what is to be shared (`audit`)."""
