// Package consensus makes the nodes agree on one cluster.State: hashicorp/raft,
// with its stores, its transport over node/peer, proposals from any node, and the
// choice of the voters. See DESIGN.md.
package consensus
