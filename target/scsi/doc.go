// Package scsi is the SCSI front end of a volume: it turns command descriptor
// blocks into operations on a target.Device and their results into status,
// sense and data. It knows SPC-4, SBC-3 and implicit ALUA, and nothing of the
// carrier (iSCSI) nor of how a volume is kept.
//
// One table (commands.go) holds what is known of each command: its code, the
// CDB bits that mean something, its range, its data and its handler. The same
// table dispatches commands, tells the carrier how much data to collect, and
// answers REPORT SUPPORTED OPERATION CODES, so these three can not disagree.
//
// Nothing here blocks and no command has a goroutine: Execute checks the
// command, submits one operation, and the operation's completion runs the next
// step or ends the task. A command that needs several operations (UNMAP, WRITE
// SAME, WRITE AND VERIFY) is a chain with one of them under way at a time.
//
// EXTENDED COPY is such a chain too, over units of this target and of others that
// its host may use. The others are asked for by Config.Find, there the copy acts as
// the host's own nexus if it has one, and whoever aborts the copy fences them as
// well. Its limits are such that it is done in time: like any
// other command it has 4 s from when it was read, and then the host may have given
// it up and written what the rest of it would overwrite.
//
// Locks: Target.mu, then Nexus.mu. Neither is held while a Device or a carrier
// is called.
package scsi
