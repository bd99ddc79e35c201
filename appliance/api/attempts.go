package api

import (
	"net/netip"
	"sync"
	"time"
)

// A source that showed attemptsMax wrong tokens within attemptsTime has to wait for its end. Tokens cannot be guessed; this
// keeps the log, and the machine, from who tries.
const (
	attemptsMax  = 10
	attemptsTime = time.Minute
	sourcesMax   = 4096
)

// attempts counts the wrong tokens of each source address. Sources of IPv6 are its /64.
type attempts struct {
	now func() time.Time

	mu      sync.Mutex
	sources map[netip.Addr]failures
}

type failures struct {
	count int
	since time.Time
}

func newAttempts(now func() time.Time) *attempts {
	return &attempts{now: now, sources: map[netip.Addr]failures{}}
}

func source(a netip.Addr) netip.Addr {
	if a = a.Unmap().WithZone(""); a.Is6() {
		p, _ := a.Prefix(64)
		return p.Addr()
	}
	return a
}

// wait is how long the source has to, 0 if it may try.
func (a *attempts) wait(from netip.Addr) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.sources[source(from)]
	if f.count < attemptsMax {
		return 0
	}
	return max(0, attemptsTime-a.now().Sub(f.since))
}

// failed counts, and says whether that was the last one for now.
func (a *attempts) failed(from netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if len(a.sources) >= sourcesMax {
		a.forget(now)
	}
	key := source(from)
	f := a.sources[key]
	if now.Sub(f.since) >= attemptsTime {
		f = failures{since: now}
	}
	f.count++
	a.sources[key] = f
	return f.count == attemptsMax
}

// forget drops what is over, and, should that not make room, all: who tries from thousands of addresses is not kept out by counting.
func (a *attempts) forget(now time.Time) {
	for key, f := range a.sources {
		if now.Sub(f.since) >= attemptsTime {
			delete(a.sources, key)
		}
	}
	if len(a.sources) >= sourcesMax {
		clear(a.sources)
	}
}
