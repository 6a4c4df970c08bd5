"""What requests may hold, as JSON Schema (Draft 2020-12); the OpenAPI document shows the same.

A schema's ``description`` finishes the sentence "<field> must be …" in the refusal of a wrong
value, so every schema that can fail has one.
"""
