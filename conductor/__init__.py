"""The owner of the database: ledger, routing, liveness and the reaper."""
