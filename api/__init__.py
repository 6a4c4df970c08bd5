"""HTTP in, messages out: no database and no hypervisor here."""
