//go:build faults

package faults

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"ashlar/scripts/internal/clusters"
	"ashlar/target/iscsi/pdu"
)

const (
	attackers  = 200
	memoryMax  = 192 << 20 // bytes that attackers may make a node hold
	noticedMax = 2 * time.Second
)

// attack does something to a new connection to a node's portal. It returns once
// the node has hung up, or could.
type attack struct {
	name  string
	port  string
	count int
	do    func(c net.Conn, target string)
}

var attacks = []attack{
	{"noise", "3260", attackers, func(c net.Conn, _ string) { noise(c, 1<<20) }},
	{"noise for the nodes' port", "7480", attackers, func(c net.Conn, _ string) { noise(c, 1<<20) }},
	{"a login that says 16 MiB", "3260", attackers, func(c net.Conn, _ string) {
		put(c, &pdu.LoginRequest{Transit: true, CSG: pdu.LoginOperational, NSG: pdu.FullFeature, DataLength: 1<<24 - 1}, nil)
		noise(c, 1<<24)
	}},
	{"a login without end", "3260", attackers, func(c net.Conn, _ string) {
		text := make([]byte, 8192)
		for i := range text {
			text[i] = 'x'
		}
		for put(c, &pdu.LoginRequest{Continue: true, CSG: pdu.LoginOperational, ITT: 1, DataLength: uint32(len(text))}, text) == nil {
			if _, err := io.CopyN(io.Discard, c, pdu.HeaderSize); err != nil {
				return
			}
		}
	}},
	{"no login at all", "3260", 500, func(c net.Conn, _ string) { io.Copy(io.Discard, c) }},
	{"an opcode that there is not", "3260", attackers / 4, func(c net.Conn, target string) {
		if login(c, target) {
			noise(c, 1<<20)
		}
	}},
	{"a command that says 16 MiB", "3260", attackers / 4, func(c net.Conn, target string) {
		if login(c, target) {
			put(c, &pdu.SCSICommand{Final: true, Write: true, EDTL: 1<<32 - 1, ITT: 2, CmdSN: 1, DataLength: 1<<24 - 1}, nil)
			noise(c, 1<<24)
		}
	}},
	{"half a header", "3260", attackers / 4, func(c net.Conn, target string) {
		if login(c, target) {
			c.Write(make([]byte, pdu.HeaderSize/2))
			c.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, c)
		}
	}},
}

func TestHostileConnectionsAreBoundedAndOthersDoNotNotice(t *testing.T) {
	c := clusters.New(t, clusters.Plan{})
	v := c.Publish("v", "16M", 2)
	load := clusters.NewLoad(t, v.IQN, volumeBytes-forbiddenBytes, c.Nodes...)
	load.Start()
	load.AwaitWrites(300, time.Minute)
	victim := c.Head("v")
	for _, a := range append(slices.Concat(attacks, attacksNVMe), misbehave(t, 3)) {
		load.Longest()
		left, before, stalls := load.Left(), victim.MemoryBytes(), stallsOf(c)
		took, most := carryOut(t, victim, a, v.IQN)
		if most > before+memoryMax {
			t.Errorf("%s: the node holds %d MiB, %d MiB before", a.name, most>>20, before>>20)
		}
		load.AwaitWrites(50, 10*time.Second)
		longest := load.Longest()
		// A machine that is busy with something else may stop a process for so
		// long that it drops its hosts by itself, and says so.
		stood := stallsOf(c) > stalls
		if longest > noticedMax || load.Left() != left && !stood {
			t.Errorf("%s: another host's write took %v, and it left a portal %d times", a.name, longest, load.Left()-left)
		}
		t.Logf("%s: %d connections were over after %.1f s, memory %d -> %d MiB, longest write of another host %v", a.name, a.count, took.Seconds(), before>>20, most>>20, longest)
	}
	load.Stop(30 * time.Second)
	load.ExpectAll()
	expectForbidden(t, victim, v.IQN)
	c.Verify("v")
	if lines := victim.LogLines("panic", "level=ERROR msg=iscsi"); len(lines) > 0 {
		t.Errorf("%q", lines)
	}
}

// stallsOf counts the sessions that nodes ended because they had stood still.
func stallsOf(c *clusters.Cluster) (n int) {
	for _, node := range c.Nodes {
		n += len(node.LogLines("stood still"))
	}
	return n
}

// patience is more than the time that a login may take.
const patience = 25 * time.Second

// carryOut runs an attack from many connections and waits until the node is rid of them all.
func carryOut(t *testing.T, n *clusters.Node, a attack, target string) (took time.Duration, most uint64) {
	t.Helper()
	begin := time.Now()
	var attackers sync.WaitGroup
	over := make(chan struct{})
	for range a.count {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(n.Addresses[0], a.port), 5*time.Second)
		if err != nil {
			t.Fatalf("%s: %v", a.name, err)
		}
		c.SetDeadline(time.Now().Add(patience))
		attackers.Go(func() {
			defer c.Close()
			a.do(c, target)
			// What is left of the answer: the end is the node's.
			if _, err := io.Copy(io.Discard, c); isTimeout(err) {
				t.Errorf("%s: the node keeps the connection", a.name)
			}
		})
	}
	go func() {
		attackers.Wait()
		close(over)
	}()
	for {
		most = max(most, n.MemoryBytes())
		select {
		case <-over:
			return time.Since(begin), most
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// noise sends random bytes until the node hangs up, or so many.
func noise(c net.Conn, bytes int64) {
	source := rand.NewChaCha8([32]byte{byte(rand.Uint32())})
	io.CopyN(c, source, bytes)
	c.(*net.TCPConn).CloseWrite()
}

func put(c net.Conn, m pdu.Message, data []byte) error {
	var h pdu.Header
	m.Marshal(&h)
	_, err := c.Write(append(h[:], data...))
	return err
}

// login logs in as the host that the volume is published to, with a session of
// its own, and offers keys.
func login(c net.Conn, target string, keys ...pdu.Pair) bool {
	text := identity(target)
	for _, p := range keys {
		text = pdu.AppendText(text, p.Key, p.Value)
	}
	request := pdu.LoginRequest{Transit: true, CSG: pdu.LoginOperational, NSG: pdu.FullFeature, CmdSN: 1, DataLength: uint32(len(text))}
	binary.BigEndian.PutUint32(request.ISID[2:], rand.Uint32())
	request.ISID[0] = 0x80 // random (RFC 7143 11.12.5)
	if put(c, &request, append(text, make([]byte, pdu.Padding(len(text)))...)) != nil {
		return false
	}
	var h pdu.Header
	if _, err := io.ReadFull(c, h[:]); err != nil {
		return false
	}
	var response pdu.LoginResponse
	response.Unmarshal(&h)
	if response.Status != 0 {
		return false
	}
	_, err := io.CopyN(io.Discard, c, int64(response.DataLength)+int64(pdu.Padding(int(response.DataLength))))
	return err == nil
}
