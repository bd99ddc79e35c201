package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// troubles is what writes and syncs of some files suffer, by the end of their paths.
type troubles struct {
	mu sync.Mutex
	of map[string]*trouble
}

// trouble is one. It lasts until it is over, also for what it holds up.
type trouble struct {
	delay time.Duration
	hangs bool
	fails error
	over  chan struct{}
}

// suffer is called before each write and sync of a file.
func (t *troubles) suffer(path string) error {
	t.mu.Lock()
	var found *trouble
	for end, x := range t.of {
		if strings.HasSuffix(path, end) {
			found = x
		}
	}
	t.mu.Unlock()
	switch {
	case found == nil:
	case found.fails != nil:
		return found.fails
	case found.hangs:
		<-found.over
	default:
		select {
		case <-time.After(found.delay):
		case <-found.over:
		}
	}
	return nil
}

// order begins or ends a trouble.
func (t *troubles) order(words []string) (string, error) {
	var x *trouble
	end := words[len(words)-1]
	switch {
	case len(words) == 3 && words[0] == "slow":
		ms, err := strconv.Atoi(words[1])
		if err != nil {
			return "", err
		}
		x = &trouble{delay: time.Duration(ms) * time.Millisecond}
	case len(words) == 2 && words[0] == "hang":
		x = &trouble{hangs: true}
	case len(words) == 2 && words[0] == "fail":
		x = &trouble{fails: syscall.EIO}
	case len(words) == 2 && words[0] == "full":
		x = &trouble{fails: syscall.ENOSPC}
	case len(words) != 2 || words[0] != "well":
		return "", fmt.Errorf("what is %q?", words)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.of[end]; old != nil {
		close(old.over)
		delete(t.of, end)
	}
	if x != nil {
		x.over = make(chan struct{})
		t.of[end] = x
	}
	return "so be it", nil
}
