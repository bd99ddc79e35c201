// Package iscsi is the iSCSI front end (RFC 7143): it carries SCSI commands
// between hosts and the logical units of package scsi.
//
// A connection has one goroutine that reads and one that writes. The way of a
// command:
//
//  1. reader: PDU in, digests, stall check                      (wire.go, reader.go)
//  2. reader: window, task table, buffer, R2T, Data-Out         (command.go)
//  3. reader: last byte here: stamp, hand over to scsi.Target   (command.go)
//  4. any goroutine: the unit's completion queues the response  (command.go)
//  5. writer: all queued responses in one writev                (writer.go)
//
// What to do is decided in package session, and how bytes look in package pdu;
// both are pure. The reader never waits for a logical unit, so a NOP-Out is
// echoed however stuck the units are. It waits only for the writer, when a host
// asks for more answers than it reads.
//
// Locks: Server.mu, then conn.mu. Neither is held while a unit is called.
//
// Who may log in is the Directory's word, and what proves it is decided in
// package session; guesses.go limits wrong proofs. A session ends by its host's
// logout, which Drain asks for, or with its connection; either way session.go
// keeps its I_T nexus from anybody else until it is fenced.
package iscsi
