"""The auto-labelling pitfall: classification folders -> naive boxes -> the audit of what is wrong."""
