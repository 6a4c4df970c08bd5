"""The administrator's command, ``paddock``: it knows a cloud by its HTTP API only."""
