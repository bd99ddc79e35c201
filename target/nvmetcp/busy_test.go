package nvmetcp

import (
	"errors"
	"testing"
	"time"

	"ashlar/target"
	"ashlar/target/nvme"
	"ashlar/target/targettest"
	"ashlar/target/targettest/nvmehost"
)

// linuxMaxRetries is nvme_core.max_retries of Linux.
const linuxMaxRetries = 5

// linuxDoes is what Linux's multipath makes of a status: it gives up, tries the same
// path again, or puts the command back for any path (nvme_decide_disposition).
// Only retries are counted.
func linuxDoes(s nvme.Status, retries *int) (again bool) {
	switch {
	case s&nvme.DoNotRetry != 0 || *retries >= linuxMaxRetries:
		return false
	case s.Code()&0x700 == 0x300:
		*retries = 0
	default:
		*retries++
	}
	return true
}

// A volume that has no copy is Busy until it has one again, in a minute or in a week.
// Linux goes on asking, and does not ask so often that it does nothing else.
func TestAMultipathHostWaitsForAsLongAsAVolumeIsBusy(t *testing.T) {
	for _, busy := range []target.Status{target.Busy, target.Full} {
		t.Run(busy.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			paths := []*nvmehost.Controller{r.host(nvmehost.Options{}), r.host(nvmehost.Options{})}
			const lasts = 2500 * time.Millisecond
			began := time.Now()
			r.device.Intercept(func(*target.Op) targettest.Verdict {
				if time.Since(began) < lasts {
					return targettest.Verdict{Status: busy}
				}
				return targettest.Verdict{}
			})
			attempts, retries := 0, 0
			for {
				attempts++
				w := nvmehost.Ranged(nvme.Write, 1, 0, 1, 0)
				w.Out = pattern(1, 512)
				err := paths[attempts%len(paths)].IO[0].Do(r.ctx, w)
				if err == nil {
					break
				}
				var failed *nvmehost.StatusError
				if !errors.As(err, &failed) || !linuxDoes(failed.Status, &retries) {
					t.Fatalf("after %d attempts and %v: %v", attempts, time.Since(began), err)
				}
			}
			if attempts <= linuxMaxRetries+1 || attempts > int(2*lasts/clockTick) {
				t.Errorf("%d attempts in %v", attempts, time.Since(began))
			}
		})
	}
}
