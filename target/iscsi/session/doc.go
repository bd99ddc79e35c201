// Package session holds the decisions of an iSCSI session (RFC 7143), apart
// from any socket: login and text negotiation as a table of keys, the command
// window, the gathering of write data by unsolicited Data-Out and R2T, the
// cutting of read data, residuals, and the states of a task. It is pure: PDUs
// in, decisions out; nothing here waits, locks or reads a clock.
package session
