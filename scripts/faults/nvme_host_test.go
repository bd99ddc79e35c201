//go:build faults

package faults

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
	"ashlar/target/nvme"
	"ashlar/target/targettest/nvmehost"
)

// Names with NVMe; the Host Identifiers are their last bytes.
const (
	hostNQN       = "nqn.2014-08.org.nvmexpress:uuid:0cd8ea3f-8b26-4b5c-8c4e-4f8f5e1b6a01"
	secondHostNQN = "nqn.2014-08.org.nvmexpress:uuid:0cd8ea3f-8b26-4b5c-8c4e-4f8f5e1b6a02"
)

// keepAlive is Linux's default.
const keepAlive = 5 * time.Second

// publishNVMe gives the hosts of a volume names with NVMe, and waits until each node
// serves all of them.
func publishNVMe(t *testing.T, c *clusters.Cluster, v api.Volume, nqnOf map[string]string) {
	t.Helper()
	for iqn, nqn := range nqnOf {
		c.Nodes[0].Must("host", "nqn", c.Host(iqn), nqn)
		for _, n := range c.Data() {
			c.Eventually(10*time.Second, n.Name+" serves "+v.NQN, func() bool {
				h := newNVMeHost(t, n, v, nqn)
				defer h.close()
				return h.open(t.Context()) == nil
			})
		}
	}
}

// nvmeHost is a host's controller at one node, which it makes anew where it ended.
type nvmeHost struct {
	node    *clusters.Node
	address string
	v       api.Volume
	options nvmehost.Options
	c       *nvmehost.Controller
}

// newNVMeHost is a host that connects with its first command.
func newNVMeHost(t *testing.T, n *clusters.Node, v api.Volume, nqn string) *nvmeHost {
	h := &nvmeHost{node: n, address: n.Addresses[0] + ":4420", v: v}
	h.options = nvmehost.Options{Host: nvme.Host{NQN: nqn}, KeepAlive: keepAlive, DataDigest: true}
	copy(h.options.Host.ID[:], nqn[len(nqn)-16:])
	t.Cleanup(h.close)
	return h
}

func (h *nvmeHost) open(ctx context.Context) error {
	if h.c != nil && h.c.Admin.Err() == nil && h.c.IO[0].Err() == nil {
		return nil
	}
	h.close()
	ctx, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	c, err := nvmehost.Dial(ctx, h.address, h.v.NQN, h.options)
	if err == nil {
		h.c = c
	}
	return err
}

func (h *nvmeHost) close() {
	if h.c != nil {
		h.c.Close()
		h.c = nil
	}
}

// once carries out commands, one after the other in the queue, and gives the first
// one's result.
func (h *nvmeHost) once(ctx context.Context, all ...*nvmehost.Command) error {
	if err := h.open(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	h.c.IO[0].Start(all...)
	var results []error
	for _, c := range all {
		results = append(results, c.Wait(ctx))
	}
	if ctx.Err() != nil {
		h.close() // what a host gave up may not come back to its buffers
	}
	return results[0]
}

// do carries out a command again and again until it is done or refused for good.
func (h *nvmeHost) do(ctx context.Context, c *nvmehost.Command) error {
	for {
		err := h.once(ctx, c)
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
func (h *nvmeHost) must(t *testing.T, c *nvmehost.Command) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := h.do(ctx, c); err != nil {
		t.Fatalf("%02xh through %s: %v", c.Command[0], h.node.Name, err)
	}
}

func (h *nvmeHost) command(op nvme.Opcode, lba uint64, data []byte) *nvmehost.Command {
	c := nvmehost.Ranged(op, h.v.NSID, lba, uint32(len(data)/lbaBytes), 0)
	if op == nvme.Read {
		c.In = data
	} else {
		c.Out = data
	}
	return c
}

func (h *nvmeHost) compareAndWrite(ctx context.Context, lba uint64, old, new []byte) error {
	first, second := h.command(nvme.Compare, lba, old), h.command(nvme.Write, lba, bytes.Clone(new))
	first.Command[1], second.Command[1] = nvme.FuseFirst, nvme.FuseSecond
	return h.once(ctx, first, second)
}

func (h *nvmeHost) readOnce(ctx context.Context, lba uint64, data []byte) error {
	return h.once(ctx, h.command(nvme.Read, lba, data))
}

func (h *nvmeHost) write(ctx context.Context, s span, version uint64) error {
	return h.do(ctx, h.command(nvme.Write, s.block*lbasPerBlock, s.data(version)))
}

func (h *nvmeHost) read(ctx context.Context, s span) ([]uint64, error) {
	data := make([]byte, s.blocks*clusters.BlockBytes)
	if err := h.do(ctx, h.command(nvme.Read, s.block*lbasPerBlock, data)); err != nil {
		return nil, err
	}
	return s.versions(data, h.node)
}

func (h *nvmeHost) submit(s span, version uint64) <-chan error {
	c := h.command(nvme.Write, s.block*lbasPerBlock, s.data(version))
	done := make(chan error, 1)
	h.c.IO[0].Start(c)
	go func() { done <- c.Wait(context.Background()) }()
	return done
}

func (h *nvmeHost) at() *clusters.Node { return h.node }

// isTemporaryNVMe is what a host repeats: a status without DNR.
func isTemporaryNVMe(err error) (temporary, known bool) {
	var s *nvmehost.StatusError
	if !errors.As(err, &s) {
		return false, false
	}
	return s.Status&nvme.DoNotRetry == 0, true
}

// report is an extended Reservation Report (NVMe Base 7.8): the keys that are
// registered.
type report struct {
	generation uint32
	kind       byte
	keys       map[uint64]bool // true: it holds the reservation
}

func (h *nvmeHost) report(t *testing.T) report {
	t.Helper()
	const size, header, entry = 4096, 64, 64
	c := nvmehost.New(nvme.ReservationReport, h.v.NSID, size/4-1, 1)
	c.In = make([]byte, size)
	h.must(t, c)
	r := report{generation: binary.LittleEndian.Uint32(c.In), kind: c.In[4], keys: map[uint64]bool{}}
	for i := range int(binary.LittleEndian.Uint16(c.In[5:])) {
		b := c.In[header+i*entry:]
		r.keys[binary.LittleEndian.Uint64(b[8:])] = b[2]&1 != 0
	}
	return r
}

// register registers a key for the host, which outlives a loss of power.
func (h *nvmeHost) register(t *testing.T, key uint64) {
	t.Helper()
	const persists = 3 << 30 // CPTPL
	c := nvmehost.New(nvme.ReservationRegister, h.v.NSID, persists)
	c.Out = make([]byte, 16)
	binary.LittleEndian.PutUint64(c.Out[8:], key)
	h.must(t, c)
}

// exclusiveAccessNVMe is the type (NVMe Base 7.5).
const exclusiveAccessNVMe = 2

// reserve takes the reservation.
func (h *nvmeHost) reserve(t *testing.T, key uint64, kind byte) {
	t.Helper()
	h.acquire(t, 0, key, 0, kind)
}

// preempt takes it from whoever has the other key, and ends what they have under way.
func (h *nvmeHost) preempt(t *testing.T, key, other uint64, kind byte) {
	t.Helper()
	h.acquire(t, 2, key, other, kind)
}

func (h *nvmeHost) acquire(t *testing.T, action uint32, key, other uint64, kind byte) {
	t.Helper()
	c := nvmehost.New(nvme.ReservationAcquire, h.v.NSID, action|uint32(kind)<<8)
	c.Out = make([]byte, 16)
	binary.LittleEndian.PutUint64(c.Out, key)
	binary.LittleEndian.PutUint64(c.Out[8:], other)
	h.must(t, c)
}

// expectNVMeConflict wants a command to be refused for a reservation, through any node.
func expectNVMeConflict(t *testing.T, h *nvmeHost, op nvme.Opcode) {
	t.Helper()
	if err := h.do(t.Context(), h.command(op, 0, make([]byte, lbaBytes))); !nvmehost.Is(err, nvme.ReservationConflict) {
		t.Errorf("%02xh through %s: %v, want a reservation conflict", byte(op), h.node.Name, err)
	}
}
