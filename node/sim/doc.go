// Package sim runs whole clusters in one goroutine: the real mirror, leases,
// failover and cluster state, on simulated disks, networks and clocks, with
// faults drawn from a seed. The same seed gives the same trace, byte for byte,
// so a failure is replayed by its seed. DESIGN.md in this folder says what is
// real, what is not, and what is checked.
package sim
