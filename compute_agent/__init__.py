"""One agent per host: takes steps from the ledger and works them on the hypervisor."""
