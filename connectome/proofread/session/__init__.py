"""Log, save, resume and replay a proofreading session."""
