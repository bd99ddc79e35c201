// Package targettest holds what tests of front ends and of Devices share: a
// Device in memory whose faults are told to it, and an acceptance suite that
// every target.Device passes.
package targettest
