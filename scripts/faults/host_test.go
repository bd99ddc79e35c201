//go:build faults

package faults

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"ashlar/scripts/internal/clusters"
	"ashlar/target/targettest/initiator"
)

// long tells whether the big counts are wanted.
func long() bool { return os.Getenv("ASHLAR_TEST_LONG") != "" }

var neighbourhoods atomic.Int32

// neighbourhood gives a cluster addresses that no other has, so that it runs beside
// those of other tests.
func neighbourhood() func(k int) []string {
	number := neighbourhoods.Add(1)
	return func(k int) []string { return []string{fmt.Sprintf("127.0.%d.%d", number, k)} }
}

// Status codes (SAM-5 5.3.1), sense keys (SPC-4 4.5.6) and additional sense codes
// with their qualifiers (SPC-4 4.5.6.2).
const (
	statusGood     = 0x00
	statusCheck    = 0x02
	statusConflict = 0x18
	statusTaskFull = 0x28

	keyNotReady  = 0x2
	keyMedium    = 0x3
	keyAttention = 0x6
	keyAborted   = 0xb
	keyMiscomp   = 0xe
)

// host is a host's session with one node, which it opens again where it broke.
type host struct {
	node    *clusters.Node
	target  string
	options initiator.Options
	session *initiator.Session
	seen    []uint16 // additional sense codes of the unit attentions that it was given
}

// newHost is a host that logs in with its first command. number makes its ISID,
// so that no two hosts of one name reinstate each other.
func newHost(t *testing.T, n *clusters.Node, target, name string, number byte) *host {
	h := &host{node: n, target: target, options: initiator.Options{Name: name, ISID: [6]byte{0x00, 0x02, 0x3d, 0, 4, number}}}
	t.Cleanup(h.close)
	return h
}

// hostTimeout is what a host gives a command: more than a node holds it (4 s).
const hostTimeout = 6 * time.Second

// open logs in, where it is not, and takes the unit attentions.
func (h *host) open(ctx context.Context) error {
	if h.session != nil && h.session.Err() == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	s, err := initiator.Dial(ctx, h.node.Portals()[0], h.target, h.options)
	if err != nil {
		return err
	}
	h.session = s
	for err = h.once(ctx, testUnitReady()); isAttention(err); {
		err = h.once(ctx, testUnitReady())
	}
	if isConflict(err) { // RESERVE(6) forbids even this
		err = nil
	}
	return err
}

func testUnitReady() *initiator.Command { return &initiator.Command{CDB: make([]byte, 6)} }

// once carries out a command, in the session that there is.
func (h *host) once(ctx context.Context, c *initiator.Command) error {
	ctx, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	err := h.session.Do(ctx, c)
	if isAttention(err) {
		_, code := c.SenseCode()
		h.seen = append(h.seen, code)
	}
	return err
}

// do carries out a command again and again until it is done or refused for good.
func (h *host) do(ctx context.Context, c *initiator.Command) error {
	for {
		err := h.open(ctx)
		if err == nil {
			err = h.once(ctx, c)
		}
		if err == nil || !isTemporary(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w; last: %w", h.node.Name, context.Cause(ctx), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// must is do, within half a minute, for what has to be done.
func (h *host) must(t *testing.T, c *initiator.Command) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := h.do(ctx, c); err != nil {
		t.Fatalf("%x through %s: %v", c.CDB, h.node.Name, err)
	}
}

func (h *host) close() {
	if h.session != nil {
		h.session.Close()
		h.session = nil
	}
}

func isAttention(err error) bool {
	var s *initiator.StatusError
	return errors.As(err, &s) && s.Key == keyAttention
}

func isConflict(err error) bool {
	var s *initiator.StatusError
	return errors.As(err, &s) && s.Status == statusConflict
}

// isTemporary is what a host repeats: all but an answer that says no.
func isTemporary(err error) bool {
	if temporary, known := isTemporaryNVMe(err); known {
		return temporary
	}
	var s *initiator.StatusError
	if !errors.As(err, &s) {
		return true
	}
	return s.Status == statusBusy || s.Status == statusTaskFull ||
		s.Status == statusCheck && (s.Key == keyNotReady || s.Key == keyAttention || s.Key == keyAborted)
}

// submit starts a command; the channel has its result.
func submit(s *initiator.Session, c *initiator.Command) <-chan error {
	done := make(chan error, 1)
	c.Done = func(c *initiator.Command) { done <- c.Result() }
	s.Submit(c)
	return done
}

// span is a run of blocks of 4 KiB that a command writes.
type span struct{ block, blocks uint64 }

const lbasPerBlock = clusters.BlockBytes / 512

// data is a version of a span, which no other span or version looks like.
func (s span) data(version uint64) []byte {
	data := make([]byte, s.blocks*clusters.BlockBytes)
	for i := range s.blocks {
		fillVersion(data[i*clusters.BlockBytes:][:clusters.BlockBytes], s.block+i, version)
	}
	return data
}

func (s span) write(version uint64) *initiator.Command {
	return &initiator.Command{CDB: initiator.CDB16(opWrite, s.block*lbasPerBlock, uint32(s.blocks*lbasPerBlock)), Out: s.data(version)}
}

func (s span) readCommand() *initiator.Command {
	return &initiator.Command{CDB: initiator.CDB16(opRead, s.block*lbasPerBlock, uint32(s.blocks*lbasPerBlock)), In: make([]byte, s.blocks*clusters.BlockBytes)}
}

// versions are those of a span's blocks that a node gave.
func (s span) versions(data []byte, n *clusters.Node) ([]uint64, error) {
	versions := make([]uint64, s.blocks)
	for i := range s.blocks {
		got := data[i*clusters.BlockBytes:][:clusters.BlockBytes]
		versions[i] = binary.LittleEndian.Uint64(got[8:])
		want := make([]byte, clusters.BlockBytes)
		if fillVersion(want, s.block+i, versions[i]); string(got) != string(want) {
			return nil, fmt.Errorf("block %d through %s is none of what was written to it", s.block+i, n.Name)
		}
	}
	return versions, nil
}

// writer is a host of either protocol at one node, as far as the tests of old bytes
// and of counters need one.
type writer interface {
	open(ctx context.Context) error
	close()
	at() *clusters.Node
	write(ctx context.Context, s span, version uint64) error // until it is done
	submit(s span, version uint64) <-chan error              // sends it, once it is open
	read(ctx context.Context, s span) (versions []uint64, err error)
	compareAndWrite(ctx context.Context, lba uint64, old, new []byte) error // tries it once
	readOnce(ctx context.Context, lba uint64, data []byte) error            // of one logical block
}

func (h *host) at() *clusters.Node { return h.node }

func (h *host) write(ctx context.Context, s span, version uint64) error {
	return h.do(ctx, s.write(version))
}

func (h *host) submit(s span, version uint64) <-chan error {
	return submit(h.session, s.write(version))
}

func (h *host) read(ctx context.Context, s span) ([]uint64, error) {
	c := s.readCommand()
	if err := h.do(ctx, c); err != nil {
		return nil, err
	}
	return s.versions(c.In, h.node)
}

func (h *host) compareAndWrite(ctx context.Context, lba uint64, old, new []byte) error {
	if err := h.open(ctx); err != nil {
		return err
	}
	return h.once(ctx, compareAndWrite(lba, old, new))
}

func (h *host) readOnce(ctx context.Context, lba uint64, data []byte) error {
	if err := h.open(ctx); err != nil {
		return err
	}
	return h.once(ctx, &initiator.Command{CDB: initiator.CDB16(opRead, lba, 1), In: data})
}

// fillVersion makes a block's content: its number and version, and a sequence from both.
func fillVersion(p []byte, block, version uint64) {
	fillPiece(p, int(block<<16+version))
	binary.LittleEndian.PutUint64(p, block)
	binary.LittleEndian.PutUint64(p[8:], version)
}
