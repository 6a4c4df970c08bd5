"""The contract between Paddock's processes: only what at least two of them need."""
