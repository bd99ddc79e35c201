// Package disk is a node's local store: the replicas of segments that one disk
// holds, with the version and checksum of every 4 KiB block. DESIGN.md in this
// folder draws the format and says what always holds.
package disk
