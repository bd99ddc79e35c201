//go:build campaign

package campaigns

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"ashlar/scripts/internal/clusters"
	"ashlar/target/targettest/initiator"
)

// hosts are clients that share a few blocks of a volume. Each does one operation after the
// other, and goes on with another path the moment that one fails or is silent.
type hosts struct {
	target  string
	portals []string
	clients []*client
	began   time.Time

	mu      sync.Mutex
	done    [clientsMax]uint64 // operations
	history [sharedBlocks][]operation
	judged  [sharedBlocks]int    // so many of them
	held    [sharedBlocks]uint64 // the tag that the last of these saw
	lastTag uint64
	longest time.Duration // of an operation, with all its attempts
	quiet   time.Duration // until then an attempt that was given up may take effect
	wrong   []string
}

const (
	sharedBlocks = 8
	clientsMax   = 4
	think        = 10 * time.Millisecond

	// A path that is silent for so long is left. Nodes hold commands for up to 4 s, so
	// the second one of an operation is given longer.
	silentFirst, silentLater = 500 * time.Millisecond, 4500 * time.Millisecond

	// A command that its host has given up may be carried out as long as the head takes it: it is
	// sequenced within 4 s of its reading, and is done within as much.
	afterlife = 8 * time.Second
)

type client struct {
	h       *hosts
	number  int
	at      int
	session *initiator.Session
	random  *rand.Rand
}

func newHosts(target string, nodes []*clusters.Node, seed uint64) *hosts {
	h := &hosts{target: target, began: time.Now()}
	for _, n := range nodes {
		h.portals = append(h.portals, n.Portals()[0])
	}
	for i := range clientsMax {
		h.clients = append(h.clients, &client{h: h, number: i, at: i, random: rand.New(rand.NewPCG(seed, uint64(i)))})
	}
	return h
}

// work has all clients at work until the context ends; an operation that was begun is ended.
func (h *hosts) work(ctx context.Context) *sync.WaitGroup {
	var tasks sync.WaitGroup
	for _, c := range h.clients {
		tasks.Go(func() {
			for ctx.Err() == nil {
				b := c.random.IntN(sharedBlocks)
				if c.random.IntN(10) < 6 {
					c.write(b)
				} else {
					c.read(b)
				}
				time.Sleep(think)
			}
		})
	}
	return &tasks
}

// now is the time since the beginning.
func (h *hosts) now() time.Duration { return time.Since(h.began) }

// write gives a block a content that it never had, a new one with each attempt.
func (c *client) write(block int) {
	h := c.h
	var tag uint64
	c.insist(func() *initiator.Command {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.lastTag++
		tag = h.lastTag
		return &initiator.Command{CDB: initiator.CDB16(0x8a, lba(block), lbasOfBlock), Out: content(block, tag)}
	}, func(begin time.Duration, done bool) {
		until := h.now()
		if !done {
			until += afterlife
			h.quiet = max(h.quiet, until)
		}
		h.history[block] = append(h.history[block], operation{client: c.number, write: true, givenUp: !done, tag: tag, call: begin, until: until})
	})
}

func (c *client) read(block int) (tag uint64) {
	h := c.h
	data := make([]byte, clusters.BlockBytes)
	c.insist(func() *initiator.Command {
		return &initiator.Command{CDB: initiator.CDB16(0x88, lba(block), lbasOfBlock), In: data}
	}, func(begin time.Duration, done bool) {
		if !done {
			return
		}
		var whole bool
		if tag, whole = tagOf(block, data); !whole {
			h.wrong = append(h.wrong, fmt.Sprintf("block %d holds what nobody wrote, or two writes", block))
		}
		h.history[block] = append(h.history[block], operation{client: c.number, tag: tag, call: begin, until: h.now()})
	})
	return tag
}

// insist tries an operation until it is done; ended is called after each attempt that was
// sent, with the lock held.
func (c *client) insist(command func() *initiator.Command, ended func(begin time.Duration, done bool)) {
	h := c.h
	first, patience := h.now(), silentFirst
	for {
		x, begin := command(), h.now()
		sent, err := c.once(x, patience)
		h.mu.Lock()
		if sent {
			ended(begin, err == nil)
		}
		if err == nil {
			h.longest = max(h.longest, h.now()-first)
			h.done[c.number]++
		} else if !clusters.IsTemporary(err) {
			h.wrong = append(h.wrong, fmt.Sprintf("refused for good: %v", err))
		}
		h.mu.Unlock()
		if err == nil || !clusters.IsTemporary(err) {
			return
		}
		if !clusters.IsAttention(err) {
			c.leave()
			patience = silentLater
			time.Sleep(think)
		}
	}
}

// once says whether the command was sent, and how it ended.
func (c *client) once(x *initiator.Command, patience time.Duration) (sent bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if c.session == nil {
		dialling, cancel := context.WithTimeout(ctx, silentFirst)
		defer cancel()
		s, err := initiator.Dial(dialling, c.h.portals[c.at%len(c.h.portals)], c.h.target,
			initiator.Options{Name: clusters.HostIQN, ISID: [6]byte{0x00, 0x02, 0x3d, 0, 9, byte(c.number)}})
		if err != nil {
			return false, err
		}
		c.session = s
	}
	return true, c.session.Do(ctx, x)
}

func (c *client) leave() {
	if c.session != nil {
		c.session.Close()
		c.session = nil
	}
	c.at++
}

// served says whether each client has ended two operations since then: of these one began
// after that.
func (h *hosts) served(since [clientsMax]uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, n := range since {
		if h.done[i] < n+2 {
			return false
		}
	}
	return true
}

func (h *hosts) operations() [clientsMax]uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.done
}

// pause is the longest that an operation took since it was last asked for.
func (h *hosts) pause() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	longest := h.longest
	h.longest = 0
	return longest
}

const lbasOfBlock = clusters.BlockBytes / 512

// lba of a shared block: six mebibytes apart, so in several segments.
func lba(block int) uint64 { return uint64(block) * 6 << 20 / 512 }

// content of a block: the tag and a sequence of it in each sector, so that a mixture shows.
func content(block int, tag uint64) []byte {
	b := make([]byte, clusters.BlockBytes)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], (tag^uint64(block)<<48)*uint64(i+1))
	}
	binary.LittleEndian.PutUint64(b, tag)
	return b
}

// tagOf reads a content; zeros are tag 0.
func tagOf(block int, b []byte) (tag uint64, whole bool) {
	tag = binary.LittleEndian.Uint64(b)
	if tag == 0 {
		return 0, string(b) == string(make([]byte, len(b)))
	}
	return tag, string(b) == string(content(block, tag))
}

// unsettled is for how long a write that was given up may still take effect.
func (h *hosts) unsettled() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(0, h.quiet-h.now())
}

// judge checks what the blocks hold now, and the histories since the last time. Nobody is at work.
func (h *hosts) judge() (wrong []string) {
	time.Sleep(h.unsettled())
	for block := range sharedBlocks {
		held := h.clients[0].read(block)
		if said := judgeRegister(h.held[block], h.history[block][h.judged[block]:], 30*time.Second); said != "" {
			wrong = append(wrong, fmt.Sprintf("block %d: %s", block, said))
		}
		if said := judgeUnique(h.history[block]); said != "" {
			wrong = append(wrong, fmt.Sprintf("block %d: %s", block, said))
		}
		h.judged[block], h.held[block] = len(h.history[block]), held
	}
	wrong = append(wrong, h.wrong...)
	h.wrong = nil
	return wrong
}
