"""What goes over the wire, as pydantic models.

Requests are parsed with them, and the OpenAPI document tells of them.

Answers are built from the board's own JSON, and tests hold them against these models.
"""
