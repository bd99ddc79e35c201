package events

import (
	"fmt"

	"ashlar/node/cluster"
)

// jobs tells of those that were ordered, and of those that ended.
func (d *derivation) jobs() {
	for _, now := range d.after.Jobs {
		old := d.before.Job(now.ID)
		if old == now {
			continue
		}
		if old == nil {
			d.add(Event{Kind: JobStarted, Volume: now.Name, Tenant: now.Tenant, By: now.By}, "job %d was ordered: %s", now.ID, task(now))
		}
		if now.End != "" {
			d.jobEnded(now)
		}
	}
}

func task(j *cluster.Job) string {
	text := fmt.Sprintf("all copies of volume %q are to be compared", j.Name)
	if j.Kind == cluster.RepairJob {
		text += ", and made equal"
	}
	return text
}

func (d *derivation) jobEnded(j *cluster.Job) {
	about := Event{Kind: JobEnded, Volume: j.Name, Tenant: j.Tenant}
	switch j.End {
	case cluster.JobDone:
		about.Warning = j.Counts.Differing > j.Counts.Mended
		d.add(about, "job %d has ended, and all copies of volume %q were compared: %d differing blocks, %d mended, %d that could not be compared", j.ID, j.Name,
			j.Counts.Differing, j.Counts.Mended, j.Counts.Skipped)
	case cluster.JobFailed:
		about.Warning = true
		d.add(about, "job %d of volume %q failed: %s", j.ID, j.Name, j.Problem)
	default:
		d.add(about, "job %d of volume %q was cancelled", j.ID, j.Name)
	}
}
