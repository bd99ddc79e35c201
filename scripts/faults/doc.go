// Package faults tests clusters of real processes on this machine's loopback:
// what they do when copies, connections or orders are not as they should be.
// Its tests want the tag "faults".
package faults
