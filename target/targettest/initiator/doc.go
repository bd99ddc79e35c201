// Package initiator is a small iSCSI initiator in user space (RFC 7143) for
// tests, demonstrations and benchmarks: one connection per session,
// ErrorRecoveryLevel 0, commands pipelined within the target's window,
// immediate and unsolicited data, R2Ts, digests, discovery, task management.
//
// A session has one goroutine that reads and one that writes. A session that
// meets an error, a Reject, or a context that ends during a command is closed,
// and every command under way fails: what the target did of them is unknown.
package initiator
