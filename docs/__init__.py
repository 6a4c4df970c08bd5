"""What operators and contributors read; the pages that repeat the code are made from it here."""
