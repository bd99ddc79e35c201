// Package power cuts the power of real nodes: all processes die at once, and
// what they have not synced is gone. Its tests want the tag "power" and the
// right to mount a FUSE file system in a namespace of their own.
package power
