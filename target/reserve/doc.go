// Package reserve is the one model of a unit's reservations: SCSI persistent
// reservations (SPC-4 5.13), the older RESERVE and RELEASE (SPC-2 5.5), and what
// NVMe calls reservations, whose types and rules are the same. It is pure: a
// State and a Request in, the next State and a Result out, the same everywhere.
//
// Three rules hold in every State that Apply returns. The registrants are in
// ascending order and no nexus is there twice. The holder is one of them. There
// is no RESERVE(6) beside a registrant.
package reserve
