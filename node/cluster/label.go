package cluster

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"ashlar/replication/wire"
)

// LabelVersion is that of Label. A node refuses a newer one.
const LabelVersion = 1

// labelMax bounds a label's state when it is unpacked, bytes.
const labelMax = 1 << 30

// Label is what every disk holds of the whole cluster, so that it can be formed anew of its disks alone: the agreed
// state as of some index, without secrets. On the disk it is one line of JSON, and behind it
// the state as JSON, gzipped.
type Label struct {
	Version   int
	Cluster   string
	Lineage   string     `json:",omitempty"`
	Forebears []Forebear `json:",omitempty"`
	Index     uint64
	TooLarge  bool     `json:",omitempty"` // the state of that index does not fit on the disk: there is none
	Nonces    []string `json:",omitempty"` // one of them is what the cluster noted of the disk when it was opened last

	packed []byte
}

// NewLabel packs a state. Its Nonces are the disk's to fill in.
func NewLabel(s *State) (*Label, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(w).Encode(s.withoutSecrets()), w.Close()); err != nil {
		return nil, err
	}
	return &Label{Version: LabelVersion, Cluster: s.ID, Lineage: s.Lineage, Forebears: s.Forebears, Index: s.Index, packed: b.Bytes()}, nil
}

// Marshal gives the bytes for the disk, of which there are at most room: a state that does not fit is left out, and the
// label says that there is one.
func (l Label) Marshal(room int) ([]byte, error) {
	if !l.Fits(room) {
		l.TooLarge, l.packed = true, nil
	}
	text, err := json.Marshal(l)
	return append(append(text, '\n'), l.packed...), err
}

// Fits says whether Marshal leaves the state in.
func (l Label) Fits(room int) bool {
	text, err := json.Marshal(l)
	return err == nil && len(text)+1+len(l.packed) <= room
}

// ParseLabel reads what Marshal made.
func ParseLabel(b []byte) (*Label, error) {
	head, packed, ok := bytes.Cut(b, []byte{'\n'})
	var l Label
	if !ok || json.Unmarshal(head, &l) != nil || l.Version < 1 || l.Cluster == "" {
		return nil, errors.New("it is no label of a cluster")
	}
	if l.Version > LabelVersion {
		return nil, fmt.Errorf("the label has version %d, this program knows %d", l.Version, LabelVersion)
	}
	l.packed = packed
	return &l, nil
}

// State unpacks it; nil where the label has none.
func (l *Label) State() (*State, error) {
	if l.TooLarge {
		return nil, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(l.packed))
	if err != nil {
		return nil, fmt.Errorf("the label's state: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(r, labelMax)) // to the end, where the checksum is
	s := New()
	if err == nil {
		err = json.Unmarshal(text, s)
	}
	if err != nil {
		return nil, fmt.Errorf("the label's state: %w", err)
	}
	if s.Version > FormatVersion {
		return nil, fmt.Errorf("the label's state has version %d, this program knows %d", s.Version, FormatVersion)
	}
	if s.ID != l.Cluster || s.Index != l.Index || s.Lineage != l.Lineage {
		return nil, errors.New("the label's state is not the one that the label names")
	}
	return s, nil
}

// Precedes says whether what a label tells is part of the past, or the present, of what another one tells.
func (l *Label) Precedes(other *Label) bool {
	if l.Lineage == other.Lineage {
		return l.Index <= other.Index
	}
	for _, f := range other.Forebears {
		if f.Lineage == l.Lineage {
			return l.Index <= f.Index
		}
	}
	return false
}

// IsOf says whether the disk that carries the label is the one that the cluster noted, and not an older copy of
// it. Where nothing was noted nobody can tell.
func (l *Label) IsOf(noted string) bool {
	return noted == "" || l != nil && slices.Contains(l.Nonces, noted)
}

// Known are the nonces of a disk that is opened again: what is noted, what may be noted yet because its
// last opening was cut off, and what is drawn now.
func (l *Label) Known(noted, drawn string) []string {
	known := []string{noted}
	if l != nil && len(l.Nonces) > 0 && l.Nonces[len(l.Nonces)-1] != noted {
		known = append(known, l.Nonces[len(l.Nonces)-1])
	}
	return append(known, drawn)
}

// withoutSecrets is what whoever finds a disk may learn. A host that had to prove something
// is remembered as one whose secrets are lost.
func (s *State) withoutSecrets() *State {
	next := s.clone()
	next.Edited, next.Answered, next.Ordered, next.Jobs = nil, nil, nil, nil
	next.Authority, next.Secret, next.GossipKey, next.Tokens = Authority{}, nil, nil, nil
	for name, h := range next.Hosts {
		if h.CHAP == nil && h.DHCHAP == nil {
			continue
		}
		public := *h
		if h.CHAP != nil {
			public.CHAP = &CHAP{Lost: true}
		}
		if h.DHCHAP != nil {
			public.DHCHAP = &DHCHAP{Lost: true}
		}
		next.Hosts[name] = &public
	}
	return next
}

// NoteDisk notes what was drawn when a disk was opened, after the disk itself has it. From is
// what was noted before.
type NoteDisk struct {
	ID          DiskID
	From, To    string
	Incarnation wire.Incarnation `json:",omitempty"` // run of its node that has it open
}

func (s *State) noteDisk(c *NoteDisk) Result {
	d := s.Disks[c.ID]
	switch {
	case d == nil:
		return problem(NotFound, "no disk %s", c.ID)
	case d.Nonce == c.To: // a proposal that came twice
		return Result{}
	case d.Failed:
		return problem(Refused, "disk %s has failed: it is never used again", c.ID)
	case d.Nonce != c.From:
		return problem(Stale, "disk %s was opened by somebody else meanwhile", c.ID)
	}
	d = s.editDisk(c.ID)
	d.Nonce, d.Opened = c.To, c.Incarnation
	s.settle()
	return Result{}
}
