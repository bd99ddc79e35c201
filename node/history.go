package node

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/events"
)

const (
	historyMax     = 10_000 // events that are kept
	historyVersion = 1      // of the file
	eventsFile     = "events.log"
)

// history is what happened in the cluster lately. It is told of each state while it is applied, so that what an
// order did can be asked for when the order is answered. The file follows behind: of what a crash takes from
// it, raft tells again at the next start.
type history struct {
	folder *folder
	log    *slog.Logger

	mu        sync.Mutex
	events    []events.Event // oldest first
	from      events.ID      // all that is known to have happened after that is in events
	through   uint64         // index up to which all was told of
	newer     chan struct{}  // closed with the next event
	unwritten []events.Event

	writing sync.Mutex // the file
	lines   int        // in it
	failed  bool       // it could not be written

	wake  chan struct{} // capacity 1
	tasks sync.WaitGroup
	stop  chan struct{}
}

// line is one of the file's, exactly one field set. The first is the version.
type line struct {
	Version int           `json:"version,omitempty"`
	Event   *events.Event `json:"event,omitempty"`
	Through uint64        `json:"through,omitempty"`
}

// openHistory goes on where the folder's file ends. Of a file that is damaged there is what came before the damage.
func openHistory(f *folder, log *slog.Logger) (*history, error) {
	h := &history{folder: f, log: log, newer: make(chan struct{}), wake: make(chan struct{}, 1), stop: make(chan struct{})}
	file, err := os.Open(f.events())
	switch {
	case err == nil:
		err = h.read(file)
		file.Close()
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.events(), err)
	}
	h.trim()
	if err := h.rewrite(); err != nil {
		return nil, fmt.Errorf("%s: %w", f.events(), err)
	}
	h.tasks.Go(h.follow)
	return h, nil
}

func (h *history) read(file io.Reader) error {
	r := bufio.NewReader(file)
	for n := 1; ; n++ {
		text, err := r.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return err
		}
		if err == io.EOF {
			if len(text) > 0 {
				h.log.Warn("the end of the history of events is lost", "line", n)
			}
			return nil
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			h.log.Warn("the history of events is damaged: what follows is lost", "line", n, "error", err)
			return nil
		}
		switch {
		case l.Version > historyVersion:
			return problem(TooNew, "it was written by a later release (version %d; this one knows %d)", l.Version, historyVersion).
				next("run the release that wrote it, or a later one, or move the file away")
		case l.Event != nil:
			h.events = append(h.events, *l.Event)
			h.through = max(h.through, l.Event.ID.Index)
		default:
			h.through = max(h.through, l.Through)
		}
	}
}

// Applied is consensus.Observer's.
func (h *history) Applied(before, after *cluster.State, at time.Time) {
	if after.Index <= h.told() {
		return // a start has raft tell again what was told before
	}
	if at.IsZero() {
		at = time.Now()
	}
	h.add(after.Index, events.Between(before, after, at.UTC())...)
}

// Restored is consensus.Observer's.
func (h *history) Restored(after *cluster.State) {
	if through := h.told(); after.Index > through {
		h.add(after.Index, events.Gap(through, after, time.Now().UTC()))
	}
}

// Forgets is consensus.Observer's: the file must know by then up to where all was told of.
func (h *history) Forgets() { h.write(true) }

func (h *history) told() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.through
}

func (h *history) add(through uint64, all ...events.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.through = through
	if len(all) == 0 {
		return
	}
	h.events, h.unwritten = append(h.events, all...), append(h.unwritten, all...)
	if len(h.events) > historyMax+historyMax/8 {
		h.trim()
	}
	h.unwritten = h.unwritten[max(0, len(h.unwritten)-historyMax):]
	close(h.newer)
	h.newer = make(chan struct{})
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// trim forgets the oldest events.
func (h *history) trim() {
	if n := len(h.events) - historyMax; n > 0 {
		h.from = h.events[n-1].ID
		h.events = slices.Clone(h.events[n:])
	}
}

// Happened is a part of what happened, oldest first.
type Happened struct {
	Events  []events.Event
	Missing bool            // more happened after what was asked for, and is not kept
	Newer   <-chan struct{} // closes with the next event
}

// after is what happened after an event, at most limit, or without one the latest.
func (h *history) after(since *events.ID, limit int) Happened {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := Happened{Newer: h.newer}
	all := h.events
	if since == nil {
		all = all[max(0, len(all)-limit):]
	} else {
		i, there := slices.BinarySearchFunc(all, *since, func(e events.Event, id events.ID) int { return e.ID.Compare(id) })
		if there {
			i++
		}
		all = all[i:]
		out.Missing = since.Compare(h.from) < 0
	}
	out.Events = slices.Clone(all[:min(limit, len(all))])
	return out
}

// follow writes what is added, until close.
func (h *history) follow() {
	for {
		select {
		case <-h.wake:
			h.write(false)
		case <-h.stop:
			return
		}
	}
}

func (h *history) close() {
	close(h.stop)
	h.tasks.Wait()
	h.write(false)
}

// write brings the file up to date; durable, it outlives a power cut. That it cannot is no reason to end: the
// events are in memory, and after a start some are unknown.
func (h *history) write(durable bool) {
	h.writing.Lock()
	defer h.writing.Unlock()
	h.mu.Lock()
	news, through := h.unwritten, h.through
	h.unwritten = nil
	h.mu.Unlock()
	var err error
	if h.failed || h.lines > 2*historyMax { // after a failure the file may end anywhere
		err = h.rewrite()
	} else {
		err = h.append(news, through, durable)
	}
	if err != nil && !h.failed {
		h.log.Error("the history of events cannot be written: a restart will not know of all", "error", err)
	}
	h.failed = err != nil
}

func (h *history) append(news []events.Event, through uint64, durable bool) error {
	text, err := lines(news, through)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(h.folder.events(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil && durable {
		err = f.Sync()
	}
	h.lines += len(news) + 1
	return errors.Join(err, f.Close())
}

// rewrite makes a file of what is kept.
func (h *history) rewrite() error {
	h.mu.Lock()
	all, through := h.events, h.through
	h.mu.Unlock()
	text, err := lines(all, through)
	if err != nil {
		return err
	}
	h.lines = len(all) + 1
	return h.folder.write(eventsFile, append(fmt.Appendf(nil, "{\"version\":%d}\n", historyVersion), text...))
}

func lines(all []events.Event, through uint64) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	for i := range all {
		if err := e.Encode(line{Event: &all[i]}); err != nil {
			return nil, err
		}
	}
	err := e.Encode(line{Through: through})
	return b.Bytes(), err
}

// Events are what happened in the cluster after an event, oldest first and at most limit, or without one the latest.
func (n *Node) Events(since *events.ID, limit int) (Happened, error) {
	s, err := n.member()
	if err != nil {
		return Happened{}, err
	}
	return s.history.after(since, limit), nil
}
