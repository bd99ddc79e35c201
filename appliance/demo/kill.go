package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"ashlar/appliance/api"

	"golang.org/x/sys/unix"
)

const (
	takeoverMax = 20 * time.Second
	degraded    = 5 * time.Second // how long the volume lives with the rest of its copies
	resyncMax   = 30 * time.Second
)

var errTime = errors.New("it took too long")

// watch lets the writers write for so long, and shows each second how they get on.
func (d *demo) watch(ctx context.Context, long time.Duration) error {
	err := d.show(ctx, long, func() (bool, error) { return false, nil })
	if err == errTime {
		return nil
	}
	return err
}

// show prints a line each second until the question is answered with yes; errTime
// where that takes too long.
func (d *demo) show(ctx context.Context, long time.Duration, ask func() (bool, error)) error {
	enough := time.After(long)
	second := time.NewTicker(time.Second)
	defer second.Stop()
	writes, bytes, _ := d.load.ledger.totals()
	for {
		if problems := d.load.allProblems(); len(problems) > 0 {
			return fmt.Errorf("%s", problems[0])
		}
		if ok, err := ask(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-enough:
			return errTime
		case <-time.After(50 * time.Millisecond):
			continue
		case <-second.C:
		}
		w, b, _ := d.load.ledger.totals()
		pause := d.load.longestSince()
		d.pause = max(d.pause, pause)
		d.say("  %6d writes/s %6.1f MiB/s   longest write %5d ms   %s", w-writes, float64(b-bytes)/(1<<20), pause.Milliseconds(), d.volumeLine(ctx))
		writes, bytes = w, b
	}
}

func (d *demo) volumeLine(ctx context.Context) string {
	v, err := d.look(ctx)
	if err != nil {
		return "nobody knows the volume's head"
	}
	return fmt.Sprintf("head %s, %d of %d copies in sync", v.Head, v.InSync, v.Replicas)
}

// look asks any node that answers for the volume.
func (d *demo) look(ctx context.Context) (v api.Volume, err error) {
	for _, s := range d.servers {
		once, cancel := context.WithTimeout(ctx, time.Second)
		detail, e := s.client.Volume(once, d.volume.Name)
		cancel()
		if err = e; e == nil && detail.Epoch >= v.Epoch {
			v = detail.Volume
		}
	}
	if v.Name != "" {
		err = nil
	}
	return v, err
}

// killHead kills the process of the volume's head, waits for the next head, starts the
// dead node again, and waits until all copies are in sync.
func (d *demo) killHead(ctx context.Context) error {
	before, err := d.look(ctx)
	if err != nil {
		return err
	}
	head := d.server(before.Head)
	if head == nil {
		return fmt.Errorf("the volume has no head")
	}
	d.pause = max(d.pause, d.load.longestSince())
	d.say("KILL -9: the process of %s, the head, is gone.", head.name)
	killed := time.Now()
	if err := head.end(syscall.SIGKILL); err != nil {
		return err
	}
	var after api.Volume
	err = d.show(ctx, takeoverMax, func() (bool, error) {
		after, err = d.look(ctx)
		return err == nil && after.Epoch > before.Epoch && after.Head != "" && after.Head != before.Head, nil
	})
	if err != nil {
		return fmt.Errorf("no new head within %v: %w", takeoverMax, err)
	}
	d.say("%s is the head now, %d ms after the kill (epoch %d).", after.Head, time.Since(killed).Milliseconds(), after.Epoch)
	if err := d.watch(ctx, degraded); err != nil {
		return err
	}
	d.say("The longest pause of a write was %d ms.", d.pause.Milliseconds())
	d.say("%s starts again, and catches up on what it missed.", head.name)
	if err := head.start(d.launcher); err != nil {
		return err
	}
	err = d.show(ctx, resyncMax, func() (bool, error) {
		v, err := d.look(ctx)
		return err == nil && v.InSync == v.Replicas, nil
	})
	if err != nil {
		return fmt.Errorf("the copies were not in sync again within %v: %w", resyncMax, err)
	}
	d.say("All copies are in sync again.")
	return d.watch(ctx, 2*time.Second)
}

// prove checks every acknowledged write, through all portals and on every copy.
func (d *demo) prove(ctx context.Context) error {
	writes, bytes, blocks := d.load.ledger.totals()
	d.say("The writers stop: %d writes acknowledged, %d MiB, to %d blocks. The longest took %d ms.",
		writes, bytes>>20, blocks, max(d.pause, d.load.longestSince()).Milliseconds())
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	d.load.checkAll(ctx)
	if problems := d.load.allProblems(); len(problems) > 0 {
		for _, p := range problems {
			d.say("  LOST: %s", p)
		}
		return fmt.Errorf("the volume does not hold what it acknowledged: %s", problems[0])
	}
	d.say("Read back through all three portals: every acknowledged write is there.")
	v, err := d.look(ctx)
	if err != nil {
		return err
	}
	report, err := d.server(v.Head).client.VerifyVolume(ctx, d.volume.Name)
	if err != nil {
		return err
	}
	for _, line := range report.Differences {
		d.say("  DIFFERS: %s", line)
	}
	if len(report.Differences) > 0 {
		return fmt.Errorf("the copies are not the same: differences: %d", len(report.Differences))
	}
	d.say("Compared on the disks: %d copies of segments, %d blocks, all equal. Nothing was lost.", report.Copies, report.Blocks)
	return nil
}

// checkFolder makes sure of room, and tells when the page cache will be in the way.
func (d *demo) checkFolder(folder string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(folder, &fs); err == nil && fs.Bavail*uint64(fs.Bsize) < roomBytes {
		return fmt.Errorf("%s has room for %d MiB and the demo may need %d: give it another --folder", folder, fs.Bavail*uint64(fs.Bsize)>>20, uint64(roomBytes)>>20)
	}
	path := filepath.Join(folder, "direct")
	defer os.Remove(path)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_DIRECT, 0o600)
	if err != nil {
		d.say("The file system of %s refuses O_DIRECT: the disks go through the page cache here.", folder)
		return nil
	}
	return f.Close()
}
