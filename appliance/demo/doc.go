// Package demo shows the product at work on one machine: three nodes, one
// mirrored volume, writers that never stop, and the death of the volume's head
// in the midst of it. It ends with a proof, not with an impression: each
// acknowledged write is read back, and all copies are compared.
//
// The nodes are processes of this very program. The demo needs no root and no
// installed package: its host is an initiator of its own.
package demo
