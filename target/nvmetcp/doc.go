// Package nvmetcp is the NVMe/TCP front end (NVMe TCP Transport 1.0): it carries
// commands between hosts and the subsystems of package nvme.
//
// A connection is one queue. It has one goroutine that reads and one that
// writes. The way of a command:
//
//  1. reader: capsule in, digests, stall check                (wire.go, reader.go)
//  2. reader: command table, buffer, R2T, H2CData             (command.go)
//  3. reader: last byte here: stamp, hand over to nvme        (command.go)
//  4. any goroutine: the completion queues the answer         (command.go)
//  5. writer: all queued answers in one writev                (writer.go)
//
// What to do is decided in package queue, and how bytes look in package pdu; both
// are pure. A command for whose data there is no memory waits in its connection,
// in order, and a host is never told of it.
//
// Locks: Server.mu, then conn.mu. Neither is held while a device is called.
package nvmetcp
