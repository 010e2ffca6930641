"""The task board beside the queues that Python programs would use instead; see `__main__.py`."""
