// Package lease decides who may act for the cluster: each node's incarnation
// holds a lease while a majority of the voters grant it, and may be fenced once
// a majority say that it has run out. It is pure. Times are ns of
// CLOCK_BOOTTIME of the node that reads them; no two clocks are compared.
//
// Why no two majorities disagree: a grant is a voter's promise not to help fence
// that incarnation for Promise, which is longer than Length by more than clocks
// drift; a ballot is its promise never to grant to that incarnation again. Both
// majorities share a voter. Where the set of voters changes, by one at a time,
// only grants given under the same configuration count together, the majorities
// of neighbouring configurations share a voter, and a voter that learns of a
// change casts no ballot for as long as a promise lasts. A ballot dies with its voter's incarnation: a
// restarted voter has forgotten it, so the cluster refuses a fence that counts it.
package lease

import (
	"slices"

	"ashlar/replication/wire"
)

// Times, ns.
const (
	Length  = int64(1_500_000_000) // from when the renewal was sent
	Promise = Length + Length/10
	Every   = int64(300_000_000) // between renewals
)

// Renew asks a voter for a grant.
type Renew struct {
	Node        wire.NodeID
	Incarnation wire.Incarnation
	Sent        int64 // by the asker's clock
}

// Grant answers a Renew.
type Grant struct {
	Voter   wire.NodeID
	Sent    int64  // as asked
	Version uint64 // of the configuration that the voter knows
	Granted bool
	Fenced  bool // the incarnation is over, or the voter has cast a ballot against it
}

// Holder is a node's own lease.
type Holder struct {
	node        wire.NodeID
	incarnation wire.Incarnation
	asked       int64
	grants      map[wire.NodeID]Grant // the latest of each voter
	fenced      map[wire.NodeID]bool
	until       int64
}

// NewHolder has no lease yet.
func NewHolder(node wire.NodeID, incarnation wire.Incarnation) *Holder {
	return &Holder{node: node, incarnation: incarnation, asked: -Every, grants: map[wire.NodeID]Grant{}, fenced: map[wire.NodeID]bool{}}
}

// Tick gives the renewal to send to every voter now, or nil.
func (h *Holder) Tick(now int64) *Renew {
	if now-h.asked < Every {
		return nil
	}
	h.asked = now
	return &Renew{h.node, h.incarnation, now}
}

// Granted takes a voter's answer.
func (h *Holder) Granted(g Grant) {
	h.fenced[g.Voter] = g.Fenced
	if old, ok := h.grants[g.Voter]; g.Granted && (!ok || old.Sent < g.Sent) {
		h.grants[g.Voter] = g
	}
}

// Until is when the lease ends under a configuration: Length after the oldest
// sending among the newest grants of a majority. 0: there was none yet. What a
// majority has promised holds for its time, also when the configuration changes.
func (h *Holder) Until(version uint64, voters []wire.NodeID) int64 {
	var sent []int64
	for _, v := range voters {
		if g, ok := h.grants[v]; ok && g.Version == version {
			sent = append(sent, g.Sent)
		}
	}
	if need := len(voters)/2 + 1; len(sent) >= need {
		slices.Sort(sent)
		h.until = max(h.until, sent[len(sent)-need]+Length)
	}
	return h.until
}

// Fenced says whether a voter has told that this incarnation is over or will be.
func (h *Holder) Fenced() bool {
	for _, f := range h.fenced {
		if f {
			return true
		}
	}
	return false
}

// Voter grants leases to others and to its own node.
type Voter struct {
	node      wire.NodeID
	from      int64 // before this it casts no ballot
	promises  map[wire.NodeID]promise
	condemned map[wire.NodeID]wire.Incarnation
}

type promise struct {
	incarnation wire.Incarnation
	until       int64
}

// NewVoter starts at now: what it promised in a former life may still hold.
func NewVoter(node wire.NodeID, now int64) *Voter {
	return &Voter{node: node, from: now + Promise, promises: map[wire.NodeID]promise{}, condemned: map[wire.NodeID]wire.Incarnation{}}
}

// Reconfigured says that the node has learned of another configuration now: its
// own election, or that others came or went. Two changes in quick succession
// leave a majority that shares no voter with one of before the first; but whoever
// knows of the second waits until what was granted before the first has run out.
func (v *Voter) Reconfigured(now int64) { v.from = max(v.from, now+Promise) }

// Renew answers a renewal. present is the incarnation of the asker that is up
// as far as this node has applied the cluster's commands, 0 if none is; it must
// have applied its own registration.
func (v *Voter) Renew(now int64, r Renew, present wire.Incarnation, version uint64) Grant {
	g := Grant{Voter: v.node, Sent: r.Sent, Version: version}
	g.Fenced = present > r.Incarnation || v.condemned[r.Node] >= r.Incarnation
	if g.Fenced || present != r.Incarnation {
		return g
	}
	g.Granted = true
	v.promises[r.Node] = promise{r.Incarnation, now + Promise}
	return g
}

// Lapsed says whether this voter is free to help fence an incarnation. One that
// it hears of for the first time, here or by a renewal, has as long as a promise
// lasts to ask for its first grant.
func (v *Voter) Lapsed(now int64, node wire.NodeID, incarnation wire.Incarnation) bool {
	p, ok := v.promises[node]
	if !ok || p.incarnation < incarnation {
		v.promises[node] = promise{incarnation, now + Promise}
		return false
	}
	return now >= v.from && (p.incarnation != incarnation || now >= p.until)
}

// Condemn casts a ballot against an incarnation, if that is allowed.
func (v *Voter) Condemn(now int64, node wire.NodeID, incarnation wire.Incarnation) bool {
	if !v.Lapsed(now, node, incarnation) {
		return false
	}
	v.condemned[node] = max(v.condemned[node], incarnation)
	return true
}
