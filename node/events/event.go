// Package events tells what happened in a cluster, from what it agreed on before and after a command. It is
// pure: every node that applies the same commands tells of the same events, under the same names.
package events

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ID names an event: the raft index of the command that it follows from, and which of that command's events it
// is, from 1. It is the same on all nodes. With 0 it comes before all of a command's events.
type ID struct {
	Index   uint64
	Ordinal uint32
}

func (id ID) String() string { return fmt.Sprintf("%d.%d", id.Index, id.Ordinal) }

// Parse is the ID that String wrote. The index alone, as 12, is 12.0.
func Parse(text string) (id ID, err error) {
	index, ordinal, more := strings.Cut(text, ".")
	if id.Index, err = strconv.ParseUint(index, 10, 64); err == nil && more {
		var n uint64
		n, err = strconv.ParseUint(ordinal, 10, 32)
		id.Ordinal = uint32(n)
	}
	if err != nil {
		return ID{}, fmt.Errorf("%q is no event's identity: it looks like 1234.1", text)
	}
	return id, nil
}

// Compare orders as they happened.
func (id ID) Compare(o ID) int {
	return cmp.Or(cmp.Compare(id.Index, o.Index), cmp.Compare(id.Ordinal, o.Ordinal))
}

func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = Parse(string(text))
	return err
}

// Kind classes events for machines.
type Kind string

// What happens.
const (
	ClusterCreated  Kind = "cluster-created"
	ClusterReformed Kind = "cluster-reformed"
	Unknown         Kind = "events-unknown" // what happened up to here is known elsewhere, if at all
	SettingsChanged Kind = "settings-changed"

	NodeJoined    Kind = "node-joined"
	NodeUp        Kind = "node-up"
	NodeDown      Kind = "node-down" // fenced
	NodeStopped   Kind = "node-stopped"
	NodeDrained   Kind = "node-drained"
	NodeUndrained Kind = "node-undrained"
	NodeVoter     Kind = "node-voter"
	NodeNoVoter   Kind = "node-no-voter"
	NodeChanged   Kind = "node-changed"
	NodeRemoved   Kind = "node-removed"

	DiskAdded     Kind = "disk-added"
	DiskBadBlocks Kind = "disk-bad-blocks"
	DiskWorn      Kind = "disk-worn"
	DiskFailed    Kind = "disk-failed"
	DiskEjected   Kind = "disk-ejected"
	DiskDrained   Kind = "disk-drained"
	DiskUndrained Kind = "disk-undrained"
	DiskEmpty     Kind = "disk-empty"
	DiskRemoved   Kind = "disk-removed"

	VolumeCreated Kind = "volume-created"
	VolumeResized Kind = "volume-resized"
	VolumeDeleted Kind = "volume-deleted"
	HeadMoved     Kind = "head-moved"
	HeadLost      Kind = "head-lost"
	CopiesOut     Kind = "copies-out"
	CopiesDemoted Kind = "copies-demoted"
	CopiesIn      Kind = "copies-in"
	CopiesPlaced  Kind = "copies-placed"
	ScrubFound    Kind = "scrub-found"
	ScrubEnded    Kind = "scrub-ended"

	PoolFilling Kind = "pool-filling"
	PoolRoomy   Kind = "pool-roomy"

	JobStarted Kind = "job-started"
	JobEnded   Kind = "job-ended"

	HostAdded     Kind = "host-added"
	HostChanged   Kind = "host-changed"
	HostRemoved   Kind = "host-removed"
	ExportAdded   Kind = "export-added"
	ExportChanged Kind = "export-changed"
	ExportRemoved Kind = "export-removed"

	AddressAdded   Kind = "address-added"
	AddressMoved   Kind = "address-moved"
	AddressRemoved Kind = "address-removed"
)

// Event is one thing that happened. What it is not about is empty.
type Event struct {
	ID      ID        `json:"id"`
	At      time.Time `json:"at"` // when it was proposed, by the clock of the node that led
	Kind    Kind      `json:"kind"`
	Warning bool      `json:"warning,omitempty"` // something was lost, or went wrong
	Text    string    `json:"text"`              // a sentence

	Node    string `json:"node,omitempty"`
	Disk    string `json:"disk,omitempty"` // its identity
	Volume  string `json:"volume,omitempty"`
	Host    string `json:"host,omitempty"`
	Address string `json:"address,omitempty"`
	Copies  int    `json:"copies,omitempty"` // of segments
	By      string `json:"by,omitempty"`     // who ordered it
	Tenant  string `json:"tenant,omitempty"` // whose the volume or host is that it is about; empty: the operator's own
}
